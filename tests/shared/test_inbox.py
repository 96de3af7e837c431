"""The stream and its ledger, on a real server: what matters here is what the server does."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from shared import inbox
from shared.errors import Unavailable
from shared.inbox import doorbell
from shared.inbox.keys import GROUP
from tests.keys import AUDITED, INBOX, MARKS

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LINGER_SECONDS = 0.01


@pytest.fixture
def client(redis_url: str) -> Iterator[inbox.Shard]:
    with inbox.connect(redis_url, 5.0) as client:
        yield client


@pytest.fixture
def append(redis_url: str) -> Callable[..., None]:
    def append(*group: tuple[str, bytes], limit: int = 1000) -> None:
        async def once() -> None:
            appender = inbox.Appender.connect(redis_url, limit, 5.0)
            try:
                await appender.append(group)
            finally:
                await appender.close()

        asyncio.run(once())

    return append


def consumer(client: inbox.Shard, name: str = "one") -> inbox.Consumer:
    return inbox.Consumer(client, name)


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


def test_the_ledger_adds_up_at_every_step(client: inbox.Shard, append: Any) -> None:
    append(("a", b"1"), ("a", b"2"), ("b", b"3"))
    worker = consumer(client)
    entries = worker.claim(10, LINGER_SECONDS)
    depth, ledger, *_ = inbox.take_snapshot(client)
    assert depth.entries == 3
    assert (ledger["a"]["appended"], ledger["b"]["appended"]) == (2, 1)
    assert worker.acknowledge(map(inbox.Done, entries, ("stored", "repeat", "dead"))) == 3
    depth, ledger, *_ = inbox.take_snapshot(client)
    assert depth == inbox.Depth(0, 0.0)
    assert ledger["a"] == {"appended": 2, "repeat": 1, "stored": 1, "duplicate": 0, "dead": 0, "ignored": 0}
    assert ledger["b"] == {"appended": 1, "repeat": 0, "stored": 0, "duplicate": 0, "dead": 1, "ignored": 0}


def test_it_is_known_when_each_source_was_last_heard(client: inbox.Shard, append: Any) -> None:
    append(("a", b"1"), ("b", b"2"))
    before = inbox.take_snapshot(client).heard
    assert set(before) == {"a", "b"}
    append(("a", b"3"))
    after = inbox.take_snapshot(client).heard
    now: Any = client.time()
    assert before["a"] < after["a"] <= now[0] + 1
    assert after["b"] == before["b"]


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


def test_entries_of_a_held_source_are_skipped_until_the_hold_ends(client: inbox.Shard, append: Any) -> None:
    append(("a", b"1"), ("a", b"2"))
    worker, holds = consumer(client), inbox.Holds(client)
    entries = worker.claim(2, LINGER_SECONDS)
    assert not holds.set_aside("a", entries), "the source is not held"
    assert holds.hold("a", inbox.Hold("why", 1.0))
    assert not holds.hold("a", inbox.Hold("another", 2.0))
    assert holds.set_aside("a", entries)
    assert holds.counts() == {"a": 2}
    assert worker.abandoned(10, idle_seconds=0) == []
    assert inbox.activity(client, "").unclaimed_seconds == 0
    assert inbox.take_snapshot(client).holds == {"a": inbox.Hold("why", 1.0)}
    assert [entry.packed for entry in worker.take(holds.oldest("a", 1), 0)] == [b"1"]
    assert holds.set_aside("a", entries[:1])
    holds.release("a")
    assert [entry.packed for entry in worker.take(worker.abandoned(10, 60), 60)] == [b"1", b"2"]


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


@pytest.mark.parametrize("fault", ["consumer deleted", "group set by hand"])
def test_entries_neither_pending_nor_unread_are_repaired(client: inbox.Shard, append: Any, fault: str) -> None:
    append(*[("a", b"%d" % number) for number in range(600)], ("a", b"unread"))
    worker = consumer(client)
    worker.claim(600, LINGER_SECONDS)
    if fault == "consumer deleted":
        client.xgroup_delconsumer(INBOX, GROUP, worker.name)
    else:
        client.xgroup_setid(INBOX, GROUP, "$")
    expected = 600 if fault == "consumer deleted" else 1
    assert inbox.audit_group(client, 60) == expected
    assert inbox.audit_group(client, 60) is None, "some worker did it just now"
    assert len(worker.abandoned(1000, 60)) == expected
    assert inbox.take_snapshot(client).notes.repaired == expected
    client.delete(AUDITED)
    assert inbox.audit_group(client, 60) == 0


def test_an_audit_forgets_the_names_of_workers_that_are_gone(
    client: inbox.Shard, append: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(("a", b"1"))
    consumer(client, "idle").claim(1, LINGER_SECONDS)
    consumer(client, "gone").claim(1, LINGER_SECONDS)
    monkeypatch.setattr("shared.inbox.audit.FORGET_SECONDS", -1)
    inbox.audit_group(client, 60)
    assert [consumer["name"] for consumer in _consumers(client)] == [b"idle"], "it has something pending"


def test_a_difference_to_the_ledger_is_seen_and_named(client: inbox.Shard, append: Any) -> None:
    append(("a", b"1"), ("b", b"2"), ("b", b"3"))
    assert inbox.take_snapshot(client).difference == 0
    client.xadd(INBOX, {"s": "a", "c": b""})
    assert inbox.take_snapshot(client).difference == 1
    assert inbox.waiting_by_source(client) == {"a": 2, "b": 2}


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


def test_a_full_inbox_takes_all_of_a_group_or_nothing(client: inbox.Shard, append: Any) -> None:
    append(("a", b"1"), limit=2)
    with pytest.raises(Unavailable, match="as many callbacks as it may"):
        append(("a", b"2"), ("a", b"3"), limit=2)
    depth, ledger, *_ = inbox.take_snapshot(client)
    assert depth.entries == 1
    assert ledger["a"]["appended"] == 1


def test_a_redis_short_of_memory_refuses_callbacks_and_still_lets_them_out(client: inbox.Shard, append: Any) -> None:
    append(*[("a", b"x" * 1000)] * 10)
    entries = consumer(client).claim(10, LINGER_SECONDS)
    used: Any = client.info("memory")
    client.config_set("maxmemory", used["used_memory"] + 1)
    try:
        with pytest.raises(Unavailable, match="memory"):
            append(("a", b"1"))
        client.config_set("maxmemory", 1)
        assert consumer(client).acknowledge([inbox.Done(entry, "stored") for entry in entries]) == 10
    finally:
        client.config_set("maxmemory", 0)
    assert inbox.take_snapshot(client).ledger["a"]["stored"] == 10


def test_the_doorbell_rings_once_until_it_is_answered(client: inbox.Shard, append: Any) -> None:
    append(("a", b"1"))
    assert client.llen(doorbell.QUEUE) == 0, "an append touches the keys of its shard only"
    inbox.ring(client, NOW)
    inbox.ring(client, NOW)
    assert client.llen(doorbell.QUEUE) == 1
    client.delete(doorbell.QUEUE)
    inbox.ring(client, NOW)
    assert client.llen(doorbell.QUEUE) == 1


def test_probing_writes_no_callback_and_rings_no_bell(redis_url: str, client: inbox.Shard) -> None:
    async def probe(limit: int) -> None:
        appender = inbox.Appender.connect(redis_url, limit, 5.0)
        try:
            await appender.probe()
        finally:
            await appender.close()

    asyncio.run(probe(limit=1))
    assert (client.xlen(INBOX), client.llen(doorbell.QUEUE)) == (0, 0)
    with pytest.raises(Unavailable):
        asyncio.run(probe(limit=0))


def test_a_redis_that_lost_everything_is_taken_up_again(client: inbox.Shard, append: Any) -> None:
    append(("a", b"1"))
    worker = consumer(client)
    worker.claim(1, LINGER_SECONDS)
    client.flushall()
    client.script_flush()
    append(("a", b"2"))
    assert [entry.packed for entry in worker.claim(1, LINGER_SECONDS)] == [b"2"]


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


def test_marks_of_workers_that_are_gone_are_forgotten(client: inbox.Shard, append: Any) -> None:
    append(("fleet", b"1"))
    seconds: Any = client.time()[0]
    client.hset(MARKS, mapping={"gone": (seconds - 601) * 1000, "quiet": (seconds - 500) * 1000})
    inbox.audit_group(client, 1)
    assert client.hkeys(MARKS) == [b"quiet"]


def test_a_worker_leaves_only_when_nothing_is_pending_under_its_name(client: inbox.Shard, append: Any) -> None:
    append(("a", b"1"))
    worker = consumer(client, "one")
    entries = worker.claim(1, LINGER_SECONDS)
    worker.leave()
    assert [consumer["name"] for consumer in _consumers(client)] == [b"one"]
    worker.acknowledge([inbox.Done(entries[0], "stored")])
    worker.leave()
    assert _consumers(client) == []


def test_the_age_is_that_of_the_oldest_entry(client: inbox.Shard) -> None:
    seconds: Any = client.time()[0]
    client.xadd(INBOX, {"s": "a", "c": b""}, id=f"{(seconds - 100) * 1000}-0")
    client.xadd(INBOX, {"s": "a", "c": b""})
    depth = inbox.take_snapshot(client).depth
    assert depth.entries == 2
    assert 99 < depth.oldest_seconds < 110


def test_an_entry_that_somebody_else_wrote_is_claimed_as_it_is(client: inbox.Shard) -> None:
    client.xadd(INBOX, {"x": "y"})
    (entry,) = consumer(client).claim(1, LINGER_SECONDS)
    assert (entry.source, entry.packed) == ("", b"")


def test_a_redis_that_is_not_there_is_unavailable() -> None:
    async def append() -> None:
        appender = inbox.Appender.connect("redis://127.0.0.1:1/0", 10, 0.5)
        try:
            await appender.append([("a", b"1")])
        finally:
            await appender.close()

    with pytest.raises(Unavailable, match="Redis does not answer"):
        asyncio.run(append())


@pytest.mark.parametrize(
    "call",
    [
        lambda appender: appender.append([("a", b"1")]),
        lambda appender: appender.probe(),
        lambda appender: appender.report_spool("file", {"a": 1}),
        lambda appender: appender.snapshot(),
    ],
    ids=["append", "probe", "report_spool", "snapshot"],
)
def test_a_redis_that_does_not_answer_is_unavailable_after_the_deadline(call: Callable[[Any], Any]) -> None:
    async def hang() -> None:
        gone = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
            await writer.wait_closed()
            gone.set()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = inbox.connect_async(f"redis://127.0.0.1:{port}/0", 5.0)
        appender = inbox.Appender(client, 10, 0.02)
        try:
            await call(appender)
        finally:
            await appender.close()
            await gone.wait()
            server.close()

    with pytest.raises(Unavailable, match=r"did not answer within 0\.02 s"):
        asyncio.run(asyncio.wait_for(hang(), 10))


def _consumers(client: inbox.Shard) -> list[dict[str, Any]]:
    found: Any = client.xinfo_consumers(INBOX, GROUP)
    return list(found)
