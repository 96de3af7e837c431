"""What is seen from outside: depth, ledger, and what each source was last heard."""

from typing import Any

from shared import inbox
from tests.keys import INBOX
from tests.shared.inbox.conftest import LINGER_SECONDS, consumer


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


def test_a_difference_to_the_ledger_is_seen_and_named(client: inbox.Shard, append: Any) -> None:
    append(("a", b"1"), ("b", b"2"), ("b", b"3"))
    assert inbox.take_snapshot(client).difference == 0
    client.xadd(INBOX, {"s": "a", "c": b""})
    assert inbox.take_snapshot(client).difference == 1
    assert inbox.waiting_by_source(client) == {"a": 2, "b": 2}


def test_the_age_is_that_of_the_oldest_entry(client: inbox.Shard) -> None:
    seconds: Any = client.time()[0]
    client.xadd(INBOX, {"s": "a", "c": b""}, id=f"{(seconds - 100) * 1000}-0")
    client.xadd(INBOX, {"s": "a", "c": b""})
    depth = inbox.take_snapshot(client).depth
    assert depth.entries == 2
    assert 99 < depth.oldest_seconds < 110


def test_every_source_of_a_large_group_is_heard_and_counted(client: inbox.Shard, append: Any) -> None:
    """More than one call of Redis takes."""
    names = {f"source-{number}" for number in range(1203)}
    append(*[(name, b"1") for name in names], limit=2000)
    found = inbox.take_snapshot(client)
    assert set(found.heard) == names
    assert sum(counts["appended"] for counts in found.ledger.values()) == 1203
