"""`python -m ingress` as a process: its addresses, its mistakes, its limits and its end."""

import os
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

from deploy.local.servers import free_port
from deploy.local.supervisor import die_with_parent
from tests.conftest import wait_until
from tests.ingress.test_app import ROOT, TOKEN, environment, fetch

CONFIG = f'[sources.otp]\nprovider = "nxcloud"\ntoken = "{TOKEN}"\n'
START = [sys.executable, "-m", "ingress"]
CALLBACK = f"POST /callbacks/otp/{TOKEN} HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nmessageid=1".encode()


def settings(folder: Path, **variables: str) -> dict[str, str]:
    path = folder / "callbox.toml"
    path.write_text(CONFIG)
    nobody = f"redis://127.0.0.1:{free_port()}/0"  # the spool takes the callbacks
    return environment(CALLBOX_CONFIG=str(path), CALLBOX_REDIS_URL=nobody, PYTHONPATH=str(ROOT), **variables)


class Process:
    """A running ingress."""

    def __init__(self, folder: Path, *words: str, descriptors: int | None = None, **variables: str) -> None:
        self.port, self.admin_port = free_port(), free_port()
        self.url, self.admin_url = (f"http://127.0.0.1:{port}" for port in (self.port, self.admin_port))
        self._log = folder / "log"

        def prepare() -> None:
            die_with_parent()
            if descriptors is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*START, "--port", str(self.port), *words],
                env=settings(folder, CALLBOX_ADMIN_BIND=f"127.0.0.1:{self.admin_port}", **variables),
                cwd=folder,
                stdout=log,
                stderr=log,
                preexec_fn=prepare,
            )

    def connect(self, sent: bytes = b"") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.sendall(sent)
        return connection

    def log(self) -> str:
        return self._log.read_text()

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> float:
        """Asks it to stop; the seconds that it took."""
        began = time.monotonic()
        self.process.send_signal(sign)
        assert self.process.wait(30) in (0, -signal.SIGTERM, -signal.SIGINT)
        return time.monotonic() - began


@contextmanager
def running(folder: Path, *words: str, descriptors: int | None = None, **variables: str) -> Iterator[Process]:
    ingress = Process(folder, *words, descriptors=descriptors, **variables)
    try:
        wait_until(lambda: fetch(f"{ingress.admin_url}/healthz") == (200, b"ok\n"), "the ingress")
        yield ingress
    finally:
        if ingress.process.poll() is None:
            ingress.stop()


def test_callbacks_and_admin_paths_have_an_address_each(folder: Path) -> None:
    with running(folder) as ingress:
        assert fetch(f"{ingress.url}/callbacks/otp/{TOKEN}", b"messageid=1&status=2") == (200, b"success")
        for path in ("/healthz", "/readyz", "/metrics"):
            assert fetch(ingress.url + path)[0] == 404
            assert fetch(ingress.url + path.replace("e", "%65", 1))[0] == 404
            assert fetch(ingress.admin_url + path)[0] == 200
        assert fetch(f"{ingress.admin_url}/callbacks/otp/{TOKEN}", b"messageid=1")[0] == 404
        assert (
            b'callbox_requests_total{outcome="accepted",source="otp"} 1.0' in fetch(f"{ingress.admin_url}/metrics")[1]
        )
        assert ingress.stop() < 5


def test_a_listening_socket_may_be_inherited(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as main, socket.create_server(("127.0.0.1", 0)) as admin:
        urls = [f"http://127.0.0.1:{address.getsockname()[1]}" for address in (main, admin)]
        descriptors = (main.fileno(), admin.fileno())
        words = ["--fd", str(descriptors[0]), "--admin-fd", str(descriptors[1])]
        ingress = subprocess.Popen(
            [*START, *words], env=settings(folder), cwd=folder, pass_fds=descriptors, preexec_fn=die_with_parent
        )
        try:
            wait_until(lambda: fetch(f"{urls[1]}/readyz")[0] == 200, "the ingress")
            assert fetch(f"{urls[0]}/callbacks/otp/{TOKEN}", b"messageid=1") == (200, b"success")
        finally:
            ingress.terminate()
            ingress.wait(20)


def test_a_signal_lets_it_finish(folder: Path) -> None:
    with running(folder) as ingress:
        ingress.process.send_signal(signal.SIGTERM)
        ingress.process.wait(20)
        assert "ingress stopped" in ingress.log()


def test_sighup_has_it_read_its_configuration_again(folder: Path) -> None:
    def configuration() -> bytes:
        return fetch(f"{ingress.admin_url}/readyz")[1].partition(b'"configuration":')[2]

    with running(folder) as ingress:
        assert fetch(f"{ingress.url}/callbacks/late/{TOKEN}", b"messageid=1&status=2")[0] == 404
        before = configuration()
        (folder / "callbox.toml").write_text(CONFIG.replace("nxcloud", "nobody"))
        ingress.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "sources.otp.provider: 'nobody' is not one of" in ingress.log(), "the mistake")
        assert take(ingress) == (200, b"success")
        assert configuration() == before
        (folder / "callbox.toml").write_text(CONFIG + CONFIG.replace("otp", "late"))
        ingress.process.send_signal(signal.SIGHUP)
        wait_until(lambda: configuration() != before, "another configuration")
        assert fetch(f"{ingress.url}/callbacks/late/{TOKEN}", b"messageid=1&status=2") == (200, b"success")
        assert '"added": ["late"]' in ingress.log()
        shown = fetch(f"{ingress.admin_url}/metrics")[1]
        assert b'callbox_requests_total{outcome="unavailable",source="late"} 0.0' in shown, "there from the start"
        assert TOKEN not in ingress.log()


def take(ingress: Process) -> tuple[int, bytes]:
    """The answer to a callback; (0, b"") when there is none."""
    with suppress(OSError):
        return fetch(f"{ingress.url}/callbacks/otp/{TOKEN}", b"messageid=1&status=2")
    return 0, b""


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_asked_to_stop_it_says_so_and_takes_callbacks_until_it_is_asked_again(
    folder: Path, second: signal.Signals
) -> None:
    with running(folder, CALLBOX_STOP_GRACE_SECONDS="600") as ingress:
        assert fetch(f"{ingress.admin_url}/readyz")[0] == 200
        ingress.process.send_signal(signal.SIGTERM)
        wait_until(lambda: fetch(f"{ingress.admin_url}/readyz")[0] == 503, "the word that it stops")
        for _ in range(20):
            assert take(ingress) == (200, b"success")
            assert b'"stopping":true' in fetch(f"{ingress.admin_url}/readyz")[1]
        assert ingress.process.poll() is None
        ingress.stop(second)
        assert take(ingress)[0] == 0, "nobody listens"
        assert "ingress stopped" in ingress.log()
        assert "Traceback" not in ingress.log()
    (spooled,) = (folder / "spool").glob("*.spool")
    with closing(sqlite3.connect(spooled)) as connection:
        assert connection.execute("SELECT count(*) FROM spooled").fetchone() == (20,)


def test_the_grace_ends_by_itself_and_no_callback_is_refused_before(folder: Path) -> None:
    with running(folder, CALLBOX_STOP_GRACE_SECONDS="1") as ingress:
        assert take(ingress) == (200, b"success")
        ingress.process.send_signal(signal.SIGTERM)
        answers = []
        while (answer := take(ingress)) != (0, b""):
            answers.append(answer)
        assert answers
        assert set(answers) == {(200, b"success")}
        assert ingress.process.wait(30) in (0, -signal.SIGTERM)
        assert "ingress stopped" in ingress.log()


@pytest.mark.parametrize(
    ("variables", "code", "said"),
    [
        (
            {"CALLBOX_TRUSTED_PROXIES": "10.0.0.0/8, nginx"},
            2,
            "CALLBOX_TRUSTED_PROXIES: 'nginx' does not appear to be an IPv4 or IPv6 network",
        ),
        ({"CALLBOX_ADMIN_BIND": "8001"}, 2, "CALLBOX_ADMIN_BIND: must be HOST:PORT, for example 127.0.0.1:8001"),
        ({"CALLBOX_ADMIN_BIND": "192.0.2.1:8001"}, 1, "cannot listen at 192.0.2.1:8001: Cannot assign"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(variables: dict[str, str], code: int, said: str, folder: Path) -> None:
    ended = subprocess.run(
        [*START, "--port", "0"],
        env=settings(folder, **variables),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (code, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(said)


def test_a_port_that_is_taken_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [*START, "--port", str(port)], env=settings(folder), cwd=folder, capture_output=True, text=True, timeout=60
        )
    assert (ended.returncode, ended.stderr) == (1, f"cannot listen at 127.0.0.1:{port}: Address already in use\n")


def test_a_stop_ends_in_its_time_although_callers_never_read_and_never_finish(folder: Path) -> None:
    with running(folder, CALLBOX_STOP_SECONDS="2") as ingress, ExitStack() as stack:
        for _ in range(6):
            deaf = stack.enter_context(ingress.connect())
            deaf.setblocking(False)
            with pytest.raises(BlockingIOError):
                for _ in range(10_000):
                    deaf.send(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" * 500)
            stack.enter_context(ingress.connect(CALLBACK[:-1]))
            stack.enter_context(ingress.connect(b"POST /callb"))
            stack.enter_context(ingress.connect())
        assert ingress.stop() < 2 + 3
        assert "ingress stopped" in ingress.log()


def test_with_few_descriptors_the_open_connections_go_on_and_others_are_closed_with_a_word(folder: Path) -> None:
    with running(folder, descriptors=128, CALLBOX_ADDRESS_CONNECTION_LIMIT="1000") as ingress, ExitStack() as stack:
        honest = [stack.enter_context(ingress.connect()) for _ in range(4)]
        others = [stack.enter_context(ingress.connect()) for _ in range(200)]
        others[-1].settimeout(10)
        assert others[-1].recv(1) == b"", "closed at once"
        for connection in honest:
            connection.sendall(CALLBACK)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")
        metrics = fetch(f"{ingress.admin_url}/metrics")[1].decode()
        assert re.search(r'^callbox_connections_refused_total\{limit="all"\} [1-9]', metrics, re.MULTILINE), metrics
        assert ingress.log().count("connection refused") == 1
        for connection in others:
            connection.close()
        wait_until(lambda: fetch(f"{ingress.url}/callbacks/otp/{TOKEN}", b"messageid=2")[0] == 200, "a new connection")


def test_a_flood_of_refusals_is_a_few_lines_of_log(folder: Path) -> None:
    with running(folder) as ingress, ingress.connect() as connection:
        before = len(ingress.log())
        for _ in range(300):
            connection.sendall(b"POST /callbacks/otp/wrong HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
            assert b"404" in connection.recv(1000)
        for _ in range(20):
            with ingress.connect(b"junk\r\n\r\n" + os.urandom(20)) as junk:
                assert junk.recv(1000).startswith(b"HTTP/1.1 400")
        assert len(ingress.log()) - before < 2000
