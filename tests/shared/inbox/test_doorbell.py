"""The message that has a worker drain."""

from datetime import UTC, datetime
from typing import Any

from shared import inbox
from shared.inbox import doorbell
from shared.inbox.keys import GROUP
from tests.keys import INBOX
from tests.shared.inbox.conftest import LINGER_SECONDS, consumer

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_full_redis_takes_no_ring_and_a_drain_goes_on(client: inbox.Shard, append: Any) -> None:
    append(("a", b"1"))
    client.delete(doorbell.QUEUE)
    worker = consumer(client)
    client.xgroup_create(INBOX, GROUP, id="0")
    client.config_set("maxmemory", 1)
    try:
        assert inbox.is_full(client)
        inbox.ring(client, NOW)
        entries = worker.claim(1, LINGER_SECONDS)
        worker.renew(entries)
        worker.hand_back(entries)
        entries = worker.take(worker.abandoned(1, 60), 60)
        assert worker.acknowledge([inbox.Done(entries[0], "stored")]) == 1
        assert inbox.audit_group(client, 60) is None
    finally:
        client.config_set("maxmemory", 0)
    assert not inbox.is_full(client)
    assert client.llen(doorbell.QUEUE) == 0


def test_the_doorbell_rings_once_until_it_is_answered(client: inbox.Shard, append: Any) -> None:
    append(("a", b"1"))
    assert client.llen(doorbell.QUEUE) == 0, "an append touches the keys of its shard only"
    inbox.ring(client, NOW)
    inbox.ring(client, NOW)
    assert client.llen(doorbell.QUEUE) == 1
    client.delete(doorbell.QUEUE)
    inbox.ring(client, NOW)
    assert client.llen(doorbell.QUEUE) == 1
