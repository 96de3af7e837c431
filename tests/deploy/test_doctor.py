"""`callbox doctor` in front of a real nginx and a real ingress, with what is set wrong most often."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deploy.commands.main import main
from deploy.doctor import Place, examine
from deploy.local.servers import free_port
from deploy.local.supervisor import die_with_parent
from shared import config
from shared.providers import PROVIDERS
from tests.conftest import wait_until
from tests.ingress.test_app import ROOT, environment, fetch

NGINX = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
SECRET = "a-secret-of-the-doctors-tests"
PASS = "location /callbacks/ { proxy_pass http://127.0.0.1:INGRESS; EXTRA }"
SOURCES = f"""
[sources.fleet]
provider = "emnify"
secrets = ["{SECRET}"]
[sources.otp]
provider = "nxcloud"
token = "a-token-of-the-doctors-tests"
[sources.moved]
provider = "twilio"
secrets = ["{SECRET}"]
public_url = "https://elsewhere.example.org"
"""
NGINX_CONF = """
worker_processes 1; daemon off; master_process off; pid FOLDER/nginx.pid; error_log FOLDER/error.log;
events {}
http {
    access_log off; client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy; fastcgi_temp_path FOLDER/fastcgi;
    scgi_temp_path FOLDER/scgi; uwsgi_temp_path FOLDER/uwsgi;
    server {
        listen 127.0.0.1:PORT ssl;
        ssl_certificate FOLDER/tls.crt; ssl_certificate_key FOLDER/tls.key;
        LOCATIONS
    }
}
"""


@pytest.fixture(scope="module")
def ingress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an ingress whose spool takes the callbacks; its configuration is in the folder."""
    folder, port = tmp_path_factory.mktemp("ingress"), free_port()
    (folder / "callbox.toml").write_text(SOURCES)
    nobody = f"redis://127.0.0.1:{free_port()}/0"
    process = subprocess.Popen(
        [sys.executable, "-m", "ingress", "--port", str(port)],
        env=environment(CALLBOX_REDIS_URL=nobody, PYTHONPATH=str(ROOT)),
        cwd=folder,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent,
    )
    try:
        wait_until(lambda: fetch(f"http://127.0.0.1:{port}/healthz")[0] == 200, "the ingress")
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


Start = Callable[..., str]


def certificate(folder: Path, names: str = "IP:127.0.0.1", days: int = 90) -> None:
    words = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    files = ("-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt"))
    subject = ("-subj", "/CN=localhost", "-addext", f"subjectAltName={names}", "-days", str(days))
    subprocess.run([*words, *files, *subject], check=True, capture_output=True)


@pytest.fixture
def start(folder: Path, ingress: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts nginx in front of the ingress, with these locations; its address."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    started = []
    (folder / "callbox.toml").write_text(SOURCES)

    def start(locations: str = PASS, extra: str = "", trusted: bool = True, **of_certificate: object) -> str:
        certificate(folder, **of_certificate)  # type: ignore[arg-type]
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(folder / "tls.crt"))
        port = free_port()
        words = {
            "FOLDER": str(folder),
            "PORT": str(port),
            "LOCATIONS": locations,
            "EXTRA": extra,
            "INGRESS": str(ingress),
        }
        text = NGINX_CONF
        for word, value in words.items():
            text = text.replace(word, value)
        (folder / "nginx.conf").write_text(text)
        command = [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
        started.append(subprocess.Popen(command, preexec_fn=die_with_parent))

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listens, "nginx")
        return f"https://127.0.0.1:{port}"

    yield start
    for process in started:
        process.send_signal(signal.SIGQUIT)
        process.wait(10)


def doctor(*words: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *words])


def wrong(done: Result) -> list[str]:
    assert done.exit_code in (0, 1), done.output
    lines = [line for line in done.stdout.splitlines() if line.startswith("✗")]
    assert bool(lines) is (done.exit_code == 1)
    return lines


def test_where_all_is_well_it_says_so_at_each_step_and_a_test_callback_goes_through(start: Start) -> None:
    url = start()
    for name, methods in (("fleet", ("POST", "PATCH")), ("otp", ("POST", "GET"))):
        done = doctor(f"{url}/callbacks/{name}", "--send", "--yes")
        assert wrong(done) == []
        stages = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("✓")]
        assert list(dict.fromkeys(stages)) == ["DNS", "TCP", "TLS", "path", "source", "size", "callback", "time"]
        assert [f"{name} takes {method}" in done.stdout for method in methods] == [True, True]
        assert done.stdout.count("was accepted as ") == 2
        assert SECRET not in done.output
        assert "a-token" not in done.output
    assert wrong(doctor(url)) == []
    assert "127.0.0.1 is no public address" in doctor(url).stdout


@pytest.mark.parametrize(
    ("locations", "extra", "says"),
    [
        (PASS.replace("INGRESS;", "INGRESS/;"), "", "Callbox answers, but was asked for another path"),
        ('location / { return 200 "hello"; }', "", "something else than Callbox answers (HTTP 200"),
        ("location / { return 301 https://www.example.org$request_uri; }", "", "redirects to https://www.example.org…"),
        (PASS.replace("INGRESS", "1"), "", "a proxy answers by itself (HTTP 502"),
        (PASS, "limit_except GET POST { deny all; }", "PATCH, which emnify uses, does not reach fleet (HTTP 403"),
        (PASS, "client_max_body_size 1k;", "a body of 65536 bytes does not get through (HTTP 413"),
        (PASS, 'proxy_set_header Authorization "";', "Does a proxy drop a header (authorization)"),
        (PASS, "proxy_hide_header X-Callbox-Id;", "drops the header X-Callbox-Id"),
    ],
)
def test_what_a_proxy_does_wrong_is_named(start: Start, locations: str, extra: str, says: str) -> None:
    done = doctor(f"{start(locations, extra)}/callbacks/fleet", "--send", "--yes")
    assert done.exit_code == 1
    assert any(says in line for line in wrong(done)), done.stdout


def test_what_is_wrong_with_a_certificate_is_named_and_the_rest_is_tried(start: Start) -> None:
    alone = doctor(start(trusted=False))
    assert any("is signed by itself: providers refuse it" in line for line in wrong(alone))
    assert "✓ path" in alone.stdout
    other = doctor(start(names="IP:127.0.0.2"))
    assert any("is for another address" in line or "is for another name" in line for line in wrong(other)), other.stdout
    soon = doctor(start(days=3))
    assert wrong(soon) == []
    assert "expires in 2 days: renew it" in soon.stdout


def test_over_a_connection_that_others_read_no_proof_is_sent(
    start: Start, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = start(trusted=False)
    monkeypatch.setattr("deploy.doctor.ip_address", lambda _: ip_address("192.0.2.1"))
    source = config.load(folder / "callbox.toml", {}, PROVIDERS).sources["fleet"]
    found = list(examine(Place.of(f"{url}/callbacks/fleet"), source, True, datetime.now(UTC)))
    (sentence,) = [each.sentence for each in found if each.what == "source"]
    assert sentence == "fleet is not tried: the connection is not proven to be that of 127.0.0.1"
    assert not [each for each in found if each.what == "callback"]


def test_a_source_that_the_ingress_does_not_know_or_that_has_another_address_is_named(
    start: Start, folder: Path
) -> None:
    url = start()
    (folder / "callbox.toml").write_text(SOURCES.replace("sources.fleet", "sources.new").replace("a-token", "another"))
    for name in ("new", "otp"):
        (line,) = wrong(doctor(f"{url}/callbacks/{name}"))
        assert f"the running ingress does not know {name}, or has another token" in line
    assert any(
        "has public_url https://elsewhere.example.org" in each for each in wrong(doctor(f"{url}/callbacks/moved"))
    )


def test_what_nobody_serves_and_what_has_no_tls_is_named(folder: Path, ingress: int) -> None:
    assert any("does not answer at port 1 " in line for line in wrong(doctor("https://127.0.0.1:1")))
    assert any("nobody.invalid has no address" in line for line in wrong(doctor("https://nobody.invalid")))
    (line,) = wrong(doctor(f"http://127.0.0.1:{ingress}"))
    assert "TLS" in line
    assert any("makes no connection with TLS" in line for line in wrong(doctor(f"https://127.0.0.1:{ingress}")))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sms.example.org"], "is not the address that providers call"),
        (["https://sms.example.org", "--send"], "--send needs a URL with a source"),
        (["https://sms.example.org/callbacks/nobody"], "there is no source nobody"),
    ],
)
def test_a_wrong_usage_is_2(folder: Path, words: list[str], says: str) -> None:
    (folder / "callbox.toml").write_text(SOURCES)
    done = doctor(*words)
    assert done.exit_code == 2
    assert says in done.stderr


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://x.org", Place("https", "x.org", 443)),
        ("https://x.org:8443/callbacks/", Place("https", "x.org", 8443)),
        ("https://x.org/callbacks/fleet", Place("https", "x.org", 443, "", "fleet")),
        ("http://[::1]/in/callbacks/otp/token/", Place("http", "::1", 80, "/in", "otp")),
        ("https://x.org/in", Place("https", "x.org", 443, "/in")),
    ],
)
def test_a_url_is_taken_apart(url: str, place: Place) -> None:
    assert Place.of(url) == place
