"""Beat rings only while something waits, and keeps no messages waiting."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import celery.beat
import pytest
from structlog.testing import capture_logs

from shared import inbox
from shared.inbox import DRAIN, Shard, doorbell
from workers.app import MAINTAIN, app
from workers.beat import Bell, Scheduler


def bell_of(shard: Shard, broker: Any = None) -> Bell:
    return Bell(inbox.Inbox([shard], broker or shard), 60.0, lambda: datetime.now(UTC))


def test_it_rings_while_something_waits_and_once(client: Shard, put: Any) -> None:
    bell = bell_of(client)
    bell.ring_if_due()
    assert client.llen(doorbell.QUEUE) == 0
    assert bell.is_answered()
    put(2)
    for _ in range(3):
        bell.ring_if_due()
    assert client.llen(doorbell.QUEUE) == 1
    assert not bell.is_answered()


def test_a_redis_that_is_away_is_logged_once_and_its_return_too(client: Shard, put: Any) -> None:
    put(1)
    with inbox.connect("redis://127.0.0.1:1", 1.0) as away, capture_logs() as said:
        found = inbox.Inbox([client], away)
        bell = Bell(found, 60.0, lambda: datetime.now(UTC))
        bell.ring_if_due()
        bell.ring_if_due()
        assert bell.is_answered(), "Celery is to find out"
        found.broker = client
        bell.ring_if_due()
    assert [(line["log_level"], line["event"]) for line in said] == [
        ("warning", "cannot ring"),
        ("info", "can ring again"),
    ]
    assert client.llen(doorbell.QUEUE) == 1


def test_another_task_is_sent_by_celery_unless_a_message_still_waits(
    client: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(celery.beat.Scheduler, "apply_entry", lambda self, entry, producer: sent.append(entry.task))
    scheduler = Scheduler(app, lazy=True)
    scheduler.__dict__["_bell"] = bell_of(client)
    entries = [SimpleNamespace(task=task) for task in (DRAIN, MAINTAIN)]
    for entry in entries:
        scheduler.apply_entry(entry)
    client.rpush(doorbell.QUEUE, b"waits")
    for entry in entries:
        scheduler.apply_entry(entry)
    assert sent == [MAINTAIN]


def test_beat_has_an_entry_for_each_task_and_no_task_is_without_one() -> None:
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
    # The benchmark's contender, a shared task, may have been imported into this process.
    assert scheduled == {name for name in app.tasks if name.startswith("callbox.")}
