"""Whether workers work, and whether there is something for them."""

from typing import Any

import pytest

from shared import inbox
from shared.inbox.keys import GROUP
from tests.keys import INBOX
from tests.shared.inbox.conftest import LINGER_SECONDS, consumer


def test_a_drain_is_due_only_when_it_would_find_something(client: inbox.Shard, append: Any) -> None:
    def is_due() -> bool:
        return inbox.Inbox([client], client).is_drain_due(reclaim_seconds=60)

    assert not is_due()
    append(("a", b"1"), ("a", b"2"))
    assert is_due(), "no worker was ever there"
    worker, holds = consumer(client), inbox.Holds(client)
    entries = worker.claim(1, LINGER_SECONDS)
    assert is_due(), "one is unread"
    entries += worker.claim(1, LINGER_SECONDS)
    assert not is_due(), "a worker has both"
    worker.hand_back(entries[:1])
    assert is_due(), "one was handed back"
    holds.hold("a", inbox.Hold("why", 1.0))
    holds.set_aside("a", worker.take(worker.abandoned(1, 60), 60))
    assert not is_due(), "it is held"
    assert inbox.Inbox([client], client).is_drain_due(reclaim_seconds=0), "the other was not renewed"


def test_a_shard_that_is_away_hides_no_work_of_another(client: inbox.Shard, append: Any) -> None:
    with inbox.connect("redis://127.0.0.1:1", 1.0, 7) as away:
        append(("a", b"1"))
        assert inbox.Inbox([away, client], client).is_drain_due(60)
        with pytest.raises(inbox.RedisUnavailable):
            inbox.Inbox([away], client).is_drain_due(60)


def test_what_another_worker_has_claimed_waits_once_it_may_be_reclaimed(client: inbox.Shard, append: Any) -> None:
    append(("a", b"1"))
    consumer(client, "host-1-2").claim(1, LINGER_SECONDS)
    own, others = (inbox.activity(client, host, 100.0).unclaimed_seconds for host in ("host-1-", "host-2-"))
    assert own >= 0.0
    assert others == 0.0
    assert inbox.activity(client, "host-2-").unclaimed_seconds >= own


def test_activity_shows_what_waits_and_who_works(client: inbox.Shard, append: Any) -> None:
    assert inbox.activity(client, "") == inbox.Activity(0.0, None)
    seconds: Any = client.time()[0]
    consumer(client, "host-1-2").claim(1, LINGER_SECONDS)
    client.xadd(INBOX, {"s": "a", "c": b""}, id=f"{(seconds - 100) * 1000}-0")
    activity = inbox.activity(client, "host-1-")
    assert 99 < activity.unclaimed_seconds < 110
    assert activity.idle_seconds is not None
    assert activity.idle_seconds < 50
    assert inbox.activity(client, "host-2-").idle_seconds is None


def test_a_worker_that_asks_in_vain_leaves_a_mark(client: inbox.Shard) -> None:
    """Redis before 7.2 notes nothing about it."""
    worker = consumer(client, "host-1-2")
    assert worker.claim(1, 0.01) == []
    client.xgroup_delconsumer(INBOX, GROUP, worker.name)
    idle_seconds = inbox.activity(client, "host-1-").idle_seconds
    assert idle_seconds is not None
    assert 0 <= idle_seconds < 50
    worker.leave()
    assert inbox.activity(client, "host-1-").idle_seconds is None
