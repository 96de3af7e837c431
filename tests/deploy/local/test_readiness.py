"""Whether a part of the system does its work."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.local import readiness
from deploy.local.readiness import has_drained, wait_until_empty
from shared import inbox
from shared.inbox import Activity, Depth, Snapshot


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The calls of the doorbell."""
    calls: list[object] = []
    monkeypatch.setattr(inbox, "ring", lambda *words: calls.append(words))
    return calls


@pytest.mark.parametrize(("idle_seconds", "drained"), [(None, False), (1000.0, False), (1.0, True)])
def test_a_worker_has_drained_when_it_asked_since_then_else_it_is_rung(
    monkeypatch: pytest.MonkeyPatch, rung: list[object], idle_seconds: float | None, drained: bool
) -> None:
    monkeypatch.setattr(inbox, "activity", lambda *_: Activity(0.0, idle_seconds))
    client: Any = None
    assert has_drained(client, since=time.monotonic() - 100.0) is drained
    assert bool(rung) is not drained


def inboxes(*entries: int) -> Iterator[Snapshot]:
    return (Snapshot(Depth(count, 0.0), {}, {}, {}) for count in entries)


def test_waiting_ends_when_the_inbox_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots = inboxes(2, 1, 0, 5)
    monkeypatch.setattr(inbox, "take_snapshot", lambda client: next(snapshots))
    monkeypatch.setattr(readiness, "POLL_SECONDS", 0.0)
    client: Any = None
    wait_until_empty(client, seconds=60.0)
    assert next(snapshots).depth.entries == 5, "it asked until the inbox was empty, and not again"


def test_waiting_ends_when_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots = inboxes(1, 2)
    monkeypatch.setattr(inbox, "take_snapshot", lambda client: next(snapshots))
    client: Any = None
    wait_until_empty(client, seconds=0.0)
    assert next(snapshots).depth.entries == 2, "it asked once"
