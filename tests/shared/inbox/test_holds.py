"""Sources that are set aside."""

from typing import Any

from shared import inbox
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
