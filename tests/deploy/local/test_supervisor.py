"""The supervisor where the machine has nothing left to give."""

import errno
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local import supervisor
from deploy.local.supervisor import Child, Supervisor
from tests.conftest import wait_until

SLEEP = ["sleep", "60"]


class Watched:
    """A supervisor of one child, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "logs").mkdir()
        self.said: list[str] = []
        self.supervisor = Supervisor(folder, self.said.append)
        self.child = Child("worker-1", SLEEP, {"PATH": os.environ["PATH"]})
        self.supervisor.start(self.child)

    @property
    def pid(self) -> int:
        assert self.child.process is not None
        return self.child.process.pid

    def pids(self) -> dict[str, int]:
        found: dict[str, int] = json.loads((self.folder / "pids.json").read_text())
        return found

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: not self.child.running(), "its end")


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    yield watched
    watched.supervisor.stop({"worker"})


def test_on_a_full_disk_what_died_is_started_again_and_its_id_written_when_there_is_room(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = watched.pid
    monkeypatch.setattr(supervisor, "write_pids", no_room)
    watched.kill()
    watched.supervisor.tend()
    assert watched.child.running()
    assert watched.pids() == {"worker-1": before}
    monkeypatch.undo()
    watched.supervisor.tend()
    assert watched.pids() == {"worker-1": watched.pid}
    assert watched.pid != before


def test_what_cannot_be_started_is_tried_again_and_the_others_go_on(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Child("beat", SLEEP, {"PATH": os.environ["PATH"]})
    watched.supervisor.start(other)

    def no_memory(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    watched.kill()
    monkeypatch.setattr(subprocess, "Popen", no_memory)
    watched.supervisor.tend()
    assert watched.said[-1] == "worker-1 cannot be started (Cannot allocate memory); trying again"
    watched.supervisor.tend()
    assert len(watched.said) == 2, "not before the pause is over"
    monkeypatch.undo()
    watched.child.restart_at = 0.0
    watched.supervisor.tend()
    assert watched.child.running()
    assert other.running()
    watched.supervisor.stop({"beat"})


def test_what_ends_at_once_again_and_again_is_reported_once_with_its_reason_after_growing_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logs").mkdir()
    said: list[str] = []
    failing = Supervisor(tmp_path, said.append)
    child = Child("flower", ["sh", "-c", "echo starting; echo 'no such port: tcp'; echo; exit 3"], {})
    failing.start(child)
    pauses = []
    now = time.monotonic()
    for _ in range(12):
        wait_until(lambda: not child.running(), "its end")
        failing.tend()
        assert child.restart_at is None or child.restart_at > time.monotonic()
        pauses.append(child.pause_seconds)
        child.restart_at = 0.0
        failing.tend()
    assert said == ["flower ended with code 3: no such port: tcp; starting it again (logs/flower.log)"]
    assert pauses == sorted(pauses)
    assert pauses[-1] == supervisor.LONGEST_FAILING_SECONDS
    wait_until(lambda: not child.running(), "its end")
    child.started_at = now - 60  # it ran for long before
    failing.tend()
    assert len(said) == 2
    failing.stop({"flower"})
