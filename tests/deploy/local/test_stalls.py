"""The end of a worker that does nothing."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from deploy.local import stalls
from deploy.local.stalls import StallCheck
from deploy.local.supervisor import Child, die_with_parent
from shared import inbox
from shared.settings import Settings
from workers import health

SETTINGS = Settings(redis_url="redis://127.0.0.1:1")


@pytest.fixture
def worker() -> Iterator[Child]:
    child = Child("worker-1", ["sleep", "60"], {})
    child.process = subprocess.Popen(child.command, start_new_session=True, preexec_fn=die_with_parent)
    yield child
    child.process.kill()
    child.process.wait()


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def connect(*_: object) -> Iterator[None]:
        yield

    monkeypatch.setattr(inbox.Inbox, "connect", connect)


@pytest.mark.usefixtures("connected")
def test_a_stalled_worker_is_ended_and_reported(worker: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[str] = []
    monkeypatch.setattr(health, "stalled", lambda *_: "no drain was active")
    StallCheck(reported.append).check(worker, SETTINGS)
    assert worker.process
    assert worker.process.wait(10) == -9
    assert reported == ["worker-1 is stalled: no drain was active"]


@pytest.mark.usefixtures("connected")
def test_a_worker_that_works_is_left_alone_and_not_asked_again_at_once(
    worker: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(health, "stalled", lambda *words: asked.append(words))
    check = StallCheck(asked.append)
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    check.check(worker, SETTINGS)
    check.check(worker, SETTINGS)
    assert len(asked) == 1
    assert worker.running()
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0 + stalls.CHECK_SECONDS)
    check.check(worker, SETTINGS)
    assert len(asked) == 2


def test_while_redis_is_away_no_worker_is_ended(worker: Child) -> None:
    StallCheck(pytest.fail).check(worker, SETTINGS)
    StallCheck(pytest.fail).check(None, SETTINGS)
    assert worker.running()
