"""What a worker reports to systemd, received as systemd receives it: at a socket of datagrams."""

import os
import queue
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.local.supervisor import die_with_parent
from shared.inbox import Shard, doorbell
from shared.inbox.keys import GROUP
from shared.settings import Settings
from tests.conftest import wait_until
from tests.keys import INBOX
from workers import watchdog

REPORT_SECONDS = 10.0  # for a report that must come


class Systemd:
    """The end of systemd."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(REPORT_SECONDS)

    def next(self) -> str:
        return self._socket.recv(4096).decode()

    def waits(self) -> list[str]:
        """What came and was not read."""
        found: list[str] = []
        self._socket.setblocking(False)
        try:
            while True:
                found.append(self.next())
        except BlockingIOError:
            return found
        finally:
            self._socket.settimeout(REPORT_SECONDS)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    listening = Systemd(address)
    yield listening
    listening.close()


class Worker:
    """Answers that `watch` gets, one after another; it waits for the next one."""

    def __init__(self) -> None:
        self.answers: queue.Queue[str | None] = queue.Queue()
        self.asked = 0

    def why_stalled(self) -> str | None:
        answer = self.answers.get()
        self.asked += 1
        return answer


def test_the_start_is_reported_once_where_systemd_does_not_watch(
    systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchdog.watch(lambda: pytest.fail("asked"))
    monkeypatch.setenv("WATCHDOG_USEC", "3000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getppid()))
    watchdog.watch(lambda: pytest.fail("asked"))
    assert systemd.waits() == ["READY=1", "READY=1"]


def test_a_worker_is_reported_to_work_until_it_is_stalled_and_again_once_it_is_not(
    systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "3000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    worker = Worker()
    watchdog.watch(worker.why_stalled)
    assert systemd.next() == "READY=1"
    for _ in range(2):
        worker.answers.put(None)
        assert systemd.next() == "WATCHDOG=1"
    for _ in range(5):
        worker.answers.put("no drain was active")
    worker.answers.put(None)
    assert systemd.next() == "WATCHDOG=1"
    assert worker.asked == 8
    assert systemd.waits() == []


def test_systemd_may_have_an_abstract_address(monkeypatch: pytest.MonkeyPatch) -> None:
    systemd = Systemd(f"\0callbox-test-{os.getpid()}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@callbox-test-{os.getpid()}")
    watchdog.notify(watchdog.STOPPING)
    assert systemd.next() == "STOPPING=1"
    systemd.close()


def test_a_worker_goes_on_where_systemd_does_not_listen(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd.close()
    watchdog.notify(watchdog.READY)
    monkeypatch.delenv("NOTIFY_SOCKET")
    watchdog.notify(watchdog.READY)


def test_while_redis_is_away_no_worker_is_stalled() -> None:
    assert watchdog._why_stalled(Settings(redis_url="redis://127.0.0.1:1/0"), "host-1-", 1000.0) is None


@pytest.fixture
def worker(
    systemd: Systemd, client: Shard, redis_url: str, database_url: str, tmp_path: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker as systemd starts it: a process that has a socket to report to, and 1.5 s for each report."""
    (tmp_path / "callbox.toml").write_text('[sources.fleet]\nprovider = "emnify"\nunsigned = true\n')
    own = {name: value for name, value in os.environ.items() if not name.startswith("CALLBOX_")}
    environment = {
        "CALLBOX_REDIS_URL": redis_url,
        "CALLBOX_DATABASE_URL": database_url,
        "CALLBOX_CONFIG": str(tmp_path / "callbox.toml"),
        "CALLBOX_STATEMENT_SECONDS": "0.5",
        "CALLBOX_BEAT_SECONDS": "0.5",
        "CALLBOX_STALL_SECONDS": "1",
        "WATCHDOG_USEC": "1500000",
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "workers", "worker", "--concurrency=1"],
            env=own | environment,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent,
        )
    yield process
    process.kill()
    process.wait()


def test_a_real_worker_reports_its_start_its_work_and_its_end(
    worker: "subprocess.Popen[bytes]", systemd: Systemd, tmp_path: Path
) -> None:
    assert systemd.next() == "READY=1"
    assert systemd.next() == "WATCHDOG=1"
    wait_until(lambda: b"worker started" in (tmp_path / "log").read_bytes(), "the worker")
    worker.terminate()
    wait_until(lambda: "STOPPING=1" in systemd.waits(), "the report of the stop")
    assert worker.wait(REPORT_SECONDS * 3) == 0


def test_a_real_worker_is_not_reported_to_work_while_its_child_is_frozen_and_callbacks_wait(
    worker: "subprocess.Popen[bytes]", systemd: Systemd, client: Shard, put: Any, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    wait_until(lambda: b"worker started" in log.read_bytes(), "the worker")
    (child,) = psutil.Process(worker.pid).children()
    child.suspend()
    client.xgroup_create(INBOX, GROUP, id="0", mkstream=True)
    put(1)
    wait_until(lambda: _stalls(log) > 0, "the first check that finds the stall")
    systemd.waits()
    found = _stalls(log)
    wait_until(lambda: _stalls(log) > found + 1, "two more checks")
    assert systemd.waits() == []
    child.resume()
    doorbell.ring(client, datetime.now(UTC))
    assert systemd.next() == "WATCHDOG=1"
    wait_until(lambda: client.xlen(INBOX) == 0, "the drain")


def _stalls(log: Path) -> int:
    return log.read_bytes().count(b"no drain was active")
