"""Entries claimed, renewed, handed back, reclaimed and acknowledged."""

from typing import Any

from shared import inbox
from shared.inbox.keys import GROUP
from tests.keys import INBOX
from tests.shared.inbox.conftest import LINGER_SECONDS, consumer, consumers


def test_what_is_appended_is_claimed_in_order_and_byte_for_byte(client: inbox.Shard, append: Any) -> None:
    append(("a", b"\x00\xff1"), ("b", b""), ("a", b"3"))
    entries = consumer(client).claim(10, LINGER_SECONDS)
    assert [(entry.source, entry.packed) for entry in entries] == [("a", b"\x00\xff1"), ("b", b""), ("a", b"3")]
    assert consumer(client).claim(10, LINGER_SECONDS) == []


def test_an_entry_is_claimed_by_one_worker_only(client: inbox.Shard, append: Any) -> None:
    append(("a", b"1"), ("a", b"2"), ("a", b"3"))
    first, second = consumer(client, "one"), consumer(client, "two")
    claimed = [*first.claim(2, LINGER_SECONDS), *second.claim(2, LINGER_SECONDS)]
    assert [entry.packed for entry in claimed] == [b"1", b"2", b"3"]


def test_an_entry_acknowledged_twice_is_counted_once(client: inbox.Shard, append: Any) -> None:
    append(("a", b"1"))
    worker = consumer(client)
    entries = worker.claim(10, LINGER_SECONDS)
    assert worker.acknowledge([inbox.Done(entries[0], "stored")]) == 1
    assert worker.acknowledge([inbox.Done(entries[0], "stored")]) == 0
    assert inbox.take_snapshot(client).ledger["a"]["stored"] == 1


def test_what_a_lost_worker_had_claimed_is_reclaimed_and_what_a_living_one_has_is_not(
    client: inbox.Shard, append: Any
) -> None:
    append(("a", b"1"), ("a", b"2"))
    lost, living, third = consumer(client, "lost"), consumer(client, "living"), consumer(client, "third")
    lost_entries = lost.claim(1, LINGER_SECONDS)
    living_entries = living.claim(1, LINGER_SECONDS)
    assert third.abandoned(10, idle_seconds=60) == []
    lost.hand_back(lost_entries)
    living.renew(living_entries)
    found = third.abandoned(10, idle_seconds=60)
    assert third.take(found, idle_seconds=60) == lost_entries
    assert living.take(found, idle_seconds=60) == [], "another worker was faster"
    assert third.abandoned(10, idle_seconds=60) == []


def test_only_a_delivery_that_is_blamed_counts(client: inbox.Shard, append: Any) -> None:
    append(("a", b"1"))
    worker = consumer(client)
    entries = worker.claim(1, LINGER_SECONDS)
    for blamed, deliveries in ((False, 1), (False, 1), (True, 2), (False, 2), (True, 3)):
        worker.hand_back(entries, blamed)
        entries = worker.take(worker.abandoned(1, idle_seconds=60), idle_seconds=60)
        assert [entry.deliveries for entry in entries] == [deliveries]


def test_what_is_pending_but_gone_from_the_stream_is_forgotten(client: inbox.Shard, append: Any) -> None:
    append(("a", b"1"))
    worker = consumer(client)
    (entry,) = worker.claim(1, LINGER_SECONDS)
    worker.hand_back([entry])
    client.xdel(INBOX, entry.id)
    assert worker.take(worker.abandoned(1, idle_seconds=60), idle_seconds=60) == []
    assert worker.abandoned(1, idle_seconds=60) == []


def test_renewing_a_claim_does_not_count_as_a_delivery(client: inbox.Shard, append: Any) -> None:
    append(("a", b"1"))
    worker = consumer(client)
    entries = worker.claim(1, LINGER_SECONDS)
    for _ in range(5):
        worker.renew(entries)
    pending: Any = client.xpending_range(INBOX, GROUP, "-", "+", 10)
    assert [entry["times_delivered"] for entry in pending] == [1]


def test_reclaiming_finds_entries_behind_many_that_are_too_young(client: inbox.Shard, append: Any) -> None:
    append(*[("a", b"young")] * 50, ("a", b"old"))
    worker = consumer(client)
    entries = worker.claim(51, LINGER_SECONDS)
    worker.hand_back(entries[-1:])
    two = consumer(client, "two")
    assert [entry.packed for entry in two.take(two.abandoned(1, idle_seconds=60), idle_seconds=60)] == [b"old"]


def test_a_redis_that_lost_everything_is_taken_up_again(client: inbox.Shard, append: Any) -> None:
    append(("a", b"1"))
    worker = consumer(client)
    worker.claim(1, LINGER_SECONDS)
    client.flushall()
    client.script_flush()
    append(("a", b"2"))
    assert [entry.packed for entry in worker.claim(1, LINGER_SECONDS)] == [b"2"]


def test_a_worker_leaves_only_when_nothing_is_pending_under_its_name(client: inbox.Shard, append: Any) -> None:
    append(("a", b"1"))
    worker = consumer(client, "one")
    entries = worker.claim(1, LINGER_SECONDS)
    worker.leave()
    assert [consumer["name"] for consumer in consumers(client)] == [b"one"]
    worker.acknowledge([inbox.Done(entries[0], "stored")])
    worker.leave()
    assert consumers(client) == []


def test_an_entry_that_somebody_else_wrote_is_claimed_as_it_is(client: inbox.Shard) -> None:
    client.xadd(INBOX, {"x": "y"})
    (entry,) = consumer(client).claim(1, LINGER_SECONDS)
    assert (entry.source, entry.packed) == ("", b"")
