"""The admin address of a worker and of beat."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection

import psutil
import pytest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.settings import Settings
from tests.conftest import wait_until
from workers import exporter


class One(Collector):
    def __init__(self, fail: bool = False) -> None:
        self._fail = fail

    def collect(self) -> Iterator[Metric]:
        if self._fail:
            raise RuntimeError("a fault")
        yield GaugeMetricFamily("callbox_one", "One", value=1)


Serve = Callable[..., str]


@pytest.fixture
def serve() -> Serve:
    def serve(collector: Collector, host: str = "127.0.0.1") -> str:
        with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            port = probe.getsockname()[1]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        exporter.start(Settings(admin_bind=address), collector)
        wait_until(lambda: is_listening(host, port), "the exporter")
        return address

    return serve


def is_listening(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


def get(address: str, path: str, method: str = "GET") -> tuple[int, str, bytes]:
    connection = HTTPConnection(address, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers["content-type"], answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_answers_the_metrics_and_whether_it_lives(serve: Serve, host: str) -> None:
    address = serve(One(), host)
    status, content_type, body = get(address, "/metrics")
    assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"callbox_one 1.0" in body
    assert get(address, "/healthz") == (200, "text/plain; charset=utf-8", b"ok\n")


def test_it_answers_nothing_else(serve: Serve) -> None:
    address = serve(One())
    assert get(address, "/readyz")[0] == 404
    assert get(address, "/../etc/passwd")[0] == 404
    assert get(address, "/metrics", "POST")[0] == 501


def test_who_sends_nothing_keeps_nobody_waiting(serve: Serve) -> None:
    address = serve(One())
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port))):
        assert get(address, "/metrics")[0] == 200


def test_after_a_fault_it_answers_again(serve: Serve) -> None:
    address = serve(One(fail=True))
    with pytest.raises(ConnectionError):
        get(address, "/metrics")
    assert get(address, "/healthz")[0] == 200


def test_without_an_address_nothing_is_served() -> None:
    before = threading.active_count()
    exporter.start(Settings(), One())
    assert threading.active_count() == before


def test_an_address_that_is_taken_is_taken_over_once_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "RETRY_SECONDS", 0.05)
    failures: list[str] = []
    monkeypatch.setattr(exporter.log, "error", lambda event, **_: failures.append(event))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        exporter.start(Settings(admin_bind=f"127.0.0.1:{port}"), One())
        wait_until(lambda: bool(failures), "the failure")
    wait_until(lambda: is_listening("127.0.0.1", port), "the exporter")
    assert get(f"127.0.0.1:{port}", "/healthz")[0] == 200
    assert failures == ["cannot show metrics"]


def test_a_child_that_outlives_its_parent_does_not_keep_the_address(serve: Serve) -> None:
    port = int(serve(One()).rpartition(":")[2])
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.read(read, 1)
        os._exit(0)
    try:
        assert port in listening(os.getpid())
        wait_until(lambda: port not in listening(pid), "the end of the child's copy")
    finally:
        os.write(write, b"x")
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)


def listening(pid: int) -> set[int]:
    """The ports at which a process listens."""
    found = psutil.Process(pid).net_connections("tcp")
    return {connection.laddr.port for connection in found if connection.status == psutil.CONN_LISTEN}
