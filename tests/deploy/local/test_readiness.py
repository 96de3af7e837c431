"""Whether a part of the system does its work."""

import time
from typing import Any

import pytest

from deploy.local import readiness
from deploy.local.readiness import has_drained, wait_until_empty
from shared.inbox import Activity, Depth, Snapshot


class Seen:
    """The inbox as a test has it seen, in the place of `inbox.Inbox`."""

    def __init__(self, idle_seconds: float | None = None, *entries: int) -> None:
        self.rings = 0
        self.entries = iter(entries)
        self._idle_seconds = idle_seconds

    def activity(self, consumer_prefix: str) -> Activity:
        return Activity(0.0, self._idle_seconds)

    def ring(self, now: object) -> None:
        self.rings += 1

    def snapshot(self) -> Snapshot:
        return Snapshot(Depth(next(self.entries), 0.0), {}, {}, {})


@pytest.mark.parametrize(("idle_seconds", "drained"), [(None, False), (1000.0, False), (1.0, True)])
def test_a_worker_has_drained_when_it_asked_since_then_else_it_is_rung(
    idle_seconds: float | None, drained: bool
) -> None:
    seen: Any = Seen(idle_seconds)
    assert has_drained(seen, since=time.monotonic() - 100.0) is drained
    assert bool(seen.rings) is not drained


def test_waiting_ends_when_the_inbox_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "POLL_SECONDS", 0.0)
    seen: Any = Seen(None, 2, 1, 0, 5)
    wait_until_empty(seen, seconds=60.0)
    assert next(seen.entries) == 5, "it asked until the inbox was empty, and not again"


def test_waiting_ends_when_the_time_is_up() -> None:
    seen: Any = Seen(None, 1, 2)
    wait_until_empty(seen, seconds=0.0)
    assert next(seen.entries) == 2, "it asked once"
