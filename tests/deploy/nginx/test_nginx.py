"""deploy/nginx/nginx.conf in the real nginx, in front of servers that note what they get, and of two real ingresses."""

import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.message import Message
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis

from deploy.local.servers import free_port
from deploy.local.supervisor import die_with_parent
from shared.settings import Settings
from tests.conftest import wait_until
from tests.deploy.docker.support import ROOT
from tests.keys import INBOX

NGINX = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
FOLDER = ROOT / "deploy" / "nginx"
CONFIG = (FOLDER / "nginx.conf").read_text()
TOKEN = "6c1f0b7a9d5e4c3b8a7f"
ID = "0198a3c0-0000-7000-8000-000000000001"
TEMPORARY = ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
UNITS = {"s": 1, "k": 1024}


class Answered(NamedTuple):
    status: int
    body: str
    headers: Message


class Got(NamedTuple):
    """What a stand-in server got: a request's line without the version, its headers, its body."""

    request: str
    headers: Message
    body: bytes


class StandIn(ThreadingHTTPServer):
    """A server in the place of an ingress. It gives `status`, or hangs up without an answer where that is 0."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.status = 200
        self.got: list[Got] = []
        self._connections: list[socket.socket] = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.append(request)
        super().process_request(request, client_address)

    def end(self) -> None:
        """As the end of a process: nobody listens, and what is open is closed."""
        self.shutdown()
        self.server_close()
        for connection in self._connections:
            with suppress(OSError):  # closed before
                connection.shutdown(socket.SHUT_RDWR)


class _Answering(BaseHTTPRequestHandler):
    server: StandIn
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.got.append(Got(f"{self.command} {self.path}", self.headers, body))
        if self.server.status == 0:
            self.close_connection = True
            return
        self.send_response(self.server.status)
        self.send_header("content-length", "8")
        self.send_header("X-Callbox-Id" if self.server.status == 200 else "Retry-After", ID)
        self.end_headers()
        self.wfile.write(b"provider")

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        pass


class Proxy:
    """nginx with the file of this repository."""

    def __init__(self, folder: Path, *ports: int) -> None:
        self.folder = folder
        self.port = free_port()
        self.context = ssl.create_default_context(cafile=folder / "tls" / "tls.crt")
        text = CONFIG.replace("/etc/nginx/tls", str(folder / "tls")).replace("/var/log/nginx", str(folder))
        text = text.replace("/run/nginx.pid", str(folder / "nginx.pid"))
        text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl")
        text = text.replace("listen [::]:443 ssl;\n", "")
        places = "".join(f"    {name}_temp_path {folder / name};\n" for name in TEMPORARY)
        (folder / "nginx.conf").write_text(text.replace("http {\n", f"http {{\n{places}"))
        servers = "".join(f"server 127.0.0.1:{port} max_fails=0;\n" for port in ports)
        (folder / "ingresses.conf").write_text(servers)
        self.words = [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "start.log")]
        # In one process: nginx's own children would outlive it if it were killed.
        alone = ["-g", "daemon off; master_process off;"]
        self.process = subprocess.Popen([*self.words, *alone], preexec_fn=die_with_parent)
        wait_until(lambda: self.get("/") is not None, "nginx")

    def get(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answered | None:
        """The answer to a request; None where nobody listens. The target goes out as it is written."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=30)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return Answered(answer.status, answer.read().decode(), answer.headers)
        except ConnectionRefusedError:
            return None
        finally:
            connection.close()

    def post(self, path: str, body: bytes = b"{}") -> Answered:
        answered = self.get(path, "POST", body)
        assert answered is not None
        return answered

    def begin(self, path: str) -> None:
        """Sends a request without its body, and hangs up."""
        with (
            socket.create_connection(("127.0.0.1", self.port)) as plain,
            self.context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            connection.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n".encode())

    def logged(self) -> str:
        """The last line of the access log, once the request that was just answered is in it."""
        lines = (self.folder / "access.log").read_text().splitlines()
        return lines[-1] if lines else ""

    def everything_logged(self) -> str:
        logs = [path for path in self.folder.glob("*.log") if path.is_file()]
        return "".join(path.read_text() for path in logs)

    def end(self) -> None:
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for nginx, with a certificate."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    (tmp_path / "tls").mkdir()
    key, certificate = (tmp_path / "tls" / name for name in ("tls.key", "tls.crt"))
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return tmp_path


@pytest.fixture
def ingresses() -> Iterator[tuple[StandIn, StandIn]]:
    servers = (StandIn(), StandIn())
    yield servers
    for server in servers:
        server.end()


@pytest.fixture
def proxied(folder: Path) -> Iterator[Callable[..., Proxy]]:
    """Starts nginx in front of these ports."""
    started: list[Proxy] = []

    def start(*ports: int) -> Proxy:
        started.append(Proxy(folder, *ports))
        return started[-1]

    yield start
    for proxy in started:
        proxy.end()


@pytest.fixture
def proxy(proxied: Callable[..., Proxy], ingresses: tuple[StandIn, StandIn]) -> Proxy:
    return proxied(*(server.server_port for server in ingresses))


def got(ingresses: tuple[StandIn, StandIn]) -> list[Got]:
    return ingresses[0].got + ingresses[1].got


def test_nginx_accepts_the_file_as_it_is_but_for_its_places(proxy: Proxy) -> None:
    done = subprocess.run([*proxy.words, "-t"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "warn" not in (proxy.folder / "start.log").read_text() + done.stderr


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/metrics", "/readyz", "/healthz", "/events", "/callbacks", "/Callbacks/fleet", "//metrics"),
        *("/callbacks/../metrics", "/callbacks/%2e%2e/metrics", "/callbacks/fleet/..%2f..%2fmetrics"),
    ],
)
def test_nothing_but_callbacks_gets_through(proxy: Proxy, ingresses: tuple[StandIn, StandIn], path: str) -> None:
    assert proxy.post(path).status == 404
    assert got(ingresses) == []


def test_a_callback_gets_through_as_it_came_and_its_answer_comes_back(
    proxy: Proxy, ingresses: tuple[StandIn, StandIn]
) -> None:
    target = "/callbacks/otp/a%2Fb//c?x=%20+&y=%C3%A9&x=1"
    body = b"{" + b" " * 100_000 + b"}"
    answered = proxy.get(target, "POST", body, X_Signature="abc", X_Forwarded_For="192.0.2.1", Host="api.example.com")
    assert answered
    assert (answered.status, answered.body, answered.headers["X-Callbox-Id"]) == (200, "provider", ID)
    (one,) = got(ingresses)
    assert (one.request, one.body) == (f"POST {target}", body)
    assert one.headers["X-Signature"] == "abc"
    assert one.headers["Host"] == "api.example.com"
    assert one.headers["X-Forwarded-For"] == "127.0.0.1", "what a caller wrote is not believed"


def test_the_log_names_the_source_and_the_id_and_who_answered(proxy: Proxy, ingresses: tuple[StandIn, StandIn]) -> None:
    proxy.post(f"/callbacks/otp/{TOKEN}")
    wait_until(lambda: "source=otp" in proxy.logged(), "the line of the log")
    (server,) = [server for server in ingresses if server.got]
    assert " POST source=otp 200 " in proxy.logged()
    assert proxy.logged().endswith(f"id={ID} from 127.0.0.1:{server.server_port} 200")
    proxy.post("/elsewhere")
    wait_until(lambda: " source=- 404 " in proxy.logged(), "the line of the log")


@pytest.mark.parametrize("target", [f"/callbacks/otp/{TOKEN}", f"/callbacks/otp?token={TOKEN}"])
def test_a_token_is_in_no_log_whatever_happens(proxy: Proxy, ingresses: tuple[StandIn, StandIn], target: str) -> None:
    for statuses in ((200, 200), (503, 503), (0, 0), (503, 0)):
        for server, status in zip(ingresses, statuses, strict=True):
            server.status = status
        proxy.post(target)
    proxy.post(target, b" " * 300_000)  # too large
    proxy.begin(target)  # and given up
    for server in ingresses:
        server.end()
    proxy.post(target)
    proxy.get(f"{target}{'x' * 70_000}")  # an address that is too long
    wait_until(lambda: proxy.logged().count(" 414 "), "the line of the log")
    assert TOKEN not in proxy.everything_logged()
    assert "source=otp" in proxy.everything_logged()


@pytest.mark.parametrize("status", [503, 0])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_another_ingress_gets_what_one_could_not_keep_or_did_not_answer(
    proxy: Proxy, ingresses: tuple[StandIn, StandIn], status: int, method: str
) -> None:
    ingresses[0].status = status
    for _ in range(4):
        answered = proxy.get("/callbacks/fleet", method, b"{}" if method == "POST" else None)
        assert answered
        assert answered.status == 200
    assert ingresses[0].got, "it is tried in its turn"
    assert len(ingresses[1].got) == 4


def test_another_ingress_gets_what_came_while_one_was_away(proxy: Proxy, ingresses: tuple[StandIn, StandIn]) -> None:
    ingresses[1].end()
    assert [proxy.post("/callbacks/fleet").status for _ in range(4)] == [200] * 4
    assert len(ingresses[0].got) == 4


def test_where_no_ingress_can_keep_it_the_provider_gets_their_503_and_each_was_tried(
    proxy: Proxy, ingresses: tuple[StandIn, StandIn]
) -> None:
    for server in ingresses:
        server.status = 503
    answered = proxy.post("/callbacks/fleet")
    assert (answered.status, answered.body, answered.headers["Retry-After"]) == (503, "provider", ID)
    assert [len(server.got) for server in ingresses] == [1, 1]


def test_where_no_ingress_is_there_the_provider_is_asked_to_send_again(
    proxy: Proxy, ingresses: tuple[StandIn, StandIn]
) -> None:
    for server in ingresses:
        server.end()
    for _ in range(3):
        answered = proxy.post("/callbacks/fleet")
        assert (answered.status, answered.headers["Retry-After"]) == (503, "5")
        assert answered.headers["Content-Type"] == "application/json"
        assert "error" in answered.body


def test_what_is_larger_than_an_ingress_takes_is_refused_and_nothing_is_kept_in_a_file(
    proxy: Proxy, ingresses: tuple[StandIn, StandIn]
) -> None:
    limit = Settings().body_limit_bytes
    assert proxy.post("/callbacks/fleet", b" " * limit).status == 200
    assert proxy.post("/callbacks/fleet", b" " * (limit + 1)).status == 413
    assert len(got(ingresses)) == 1
    assert not [path for name in TEMPORARY for path in (proxy.folder / name).rglob("*") if path.is_file()]
    assert "temporary file" not in proxy.everything_logged()


def value(name: str) -> float:
    """Of a directive that is in the file once, in seconds or bytes."""
    (text,) = re.findall(rf"^ +{name} (\d+[sk])", CONFIG, re.MULTILINE)
    return int(text[:-1]) * UNITS[text[-1]]


def test_its_limits_are_those_of_the_ingress() -> None:
    settings = Settings()
    assert value("client_max_body_size") == value("client_body_buffer_size") == settings.body_limit_bytes
    assert value("client_header_timeout") == settings.head_seconds
    assert value("client_body_timeout") == settings.body_seconds
    assert value("send_timeout") == settings.answer_seconds
    assert f"large_client_header_buffers 2 {settings.head_limit_bytes // 1024}k;" in CONFIG
    assert f"limit_conn callers {settings.address_connection_limit};" in CONFIG
    idle = [int(text) for text in re.findall(r"keepalive_timeout (\d+)s;", CONFIG)]
    assert len(idle) == 2
    assert max(idle) < settings.idle_seconds
    assert value("proxy_read_timeout") > 2 * settings.append_seconds
    tries = value("proxy_next_upstream_timeout") + value("proxy_connect_timeout") + value("proxy_read_timeout")
    assert tries < 15, "Twilio's patience, the shortest that is known"


@pytest.fixture
def real(redis_url: str, folder: Path) -> Iterator[Callable[[int], "subprocess.Popen[bytes]"]]:
    """Starts a real ingress that trusts nginx."""
    started: list[subprocess.Popen[bytes]] = []
    (folder / "callbox.toml").write_text('[sources.fleet]\nprovider = "emnify"\nunsigned = true\n')
    own = {name: text for name, text in os.environ.items() if not name.startswith("CALLBOX_")}

    def start(port: int) -> "subprocess.Popen[bytes]":
        environment = {
            "CALLBOX_REDIS_URL": redis_url,
            "CALLBOX_CONFIG": str(folder / "callbox.toml"),
            "CALLBOX_SPOOL_DIR": str(folder / "spool"),
            "CALLBOX_ADMIN_BIND": f"127.0.0.1:{free_port()}",
            "CALLBOX_TRUSTED_PROXIES": "127.0.0.1/32",
        }
        with (folder / f"ingress-{port}").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "ingress", "--port", str(port)],
                env=own | environment,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )
        started.append(process)
        wait_until(lambda: "ingress started" in (folder / f"ingress-{port}").read_text(), "an ingress")
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_two_real_ingresses_take_callbacks_while_one_of_them_is_killed_and_comes_back(
    real: Callable[[int], "subprocess.Popen[bytes]"], proxied: Callable[..., Proxy], redis_url: str
) -> None:
    ports = free_port(), free_port()
    processes = [real(port) for port in ports]
    proxy = proxied(*ports)
    body = partial('{{"id": {}, "organisation": {{"id": 1}}, "payload": "hi"}}'.format)
    answered = [proxy.post("/callbacks/fleet", body(number).encode()) for number in range(10)]
    processes[0].kill()
    answered += [proxy.post("/callbacks/fleet", body(number).encode()) for number in range(10, 20)]
    real(ports[0])
    processes[1].kill()
    answered += [proxy.post("/callbacks/fleet", body(number).encode()) for number in range(20, 30)]
    assert [one.status // 100 for one in answered] == [2] * 30
    ids = {one.headers["X-Callbox-Id"] for one in answered}
    assert len(ids) == 30
    with redis.Redis.from_url(redis_url) as client:
        assert client.xlen(INBOX) == 30
    wait_until(lambda: len(re.findall(" source=fleet 2", proxy.everything_logged())) == 30, "the log")
    assert set(re.findall(r"id=([0-9a-f-]{36}) ", proxy.everything_logged())) == ids
    assert proxy.post("/callbacks/unknown").status == 404, "the answer of an ingress"
