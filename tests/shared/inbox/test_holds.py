"""Sources that are set aside."""

from typing import Any

import pytest

from shared import inbox
from shared.inbox import RedisUnavailable, holds
from tests.shared.inbox.conftest import LINGER_SECONDS, consumer


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


def test_a_hold_whose_end_is_interrupted_leaves_nothing_set_aside(
    client: inbox.Shard, append: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(*[("a", b"%d" % number) for number in range(1500)], ("b", b"held"), limit=2000)
    worker, of_all = consumer(client), inbox.Holds(client)
    entries = worker.claim(1501, LINGER_SECONDS)
    for source in ("a", "b"):
        of_all.hold(source, inbox.Hold("why", 1.0))
        of_all.set_aside(source, [entry for entry in entries if entry.source == source])
    with monkeypatch.context() as interrupted:
        calls = iter([None, RedisUnavailable("away")])
        as_before = client.xclaim

        def claim(*words: Any, **options: Any) -> Any:
            if failure := next(calls):
                raise failure
            return as_before(*words, **options)

        interrupted.setattr(client, "xclaim", claim)
        with pytest.raises(RedisUnavailable):
            of_all.release("a")
    assert of_all.counts() == {"a": 500, "b": 1}
    assert inbox.audit_group(client, 60) == 0, "no fault is repaired"
    assert of_all.counts() == {"b": 1}, "that source is still held"
    assert len(worker.abandoned(2000, 60)) == 1500
    assert holds.release_left(client) == 0
