"""What waits in the inbox: for a worker, or for the end of a hold. On a real Redis."""

from collections.abc import Iterator
from typing import Any

import pytest

from shared import inbox
from shared.inbox import Backlog, Consumer, Depth, Hold, Holds, Shard, merged_backlog
from tests.keys import INBOX

NOTHING = Backlog(0, 0.0, Depth(0, 0.0))


@pytest.fixture
def client(redis_url: str) -> Iterator[Shard]:
    with inbox.connect(redis_url, 5.0) as client:
        yield client


def put(client: Shard, source: str, ago_seconds: float) -> None:
    """An entry of this age; older ones first."""
    now: Any = client.time()
    client.xadd(INBOX, {"s": source, "c": b"x"}, id=f"{round((now[0] - ago_seconds) * 1000)}-*")


def seen(client: Shard) -> tuple[int, int, int, int]:
    """Unread entries, the age of the oldest, held entries, the age of the oldest; in tens of seconds."""
    unread, oldest, (held, oldest_held) = inbox.backlog(client)
    return unread, round(oldest / 10), held, round(oldest_held / 10)


def test_an_inbox_that_does_not_exist_is_empty(client: Shard) -> None:
    assert inbox.backlog(client) == NOTHING


def test_before_any_worker_came_everything_is_unread(client: Shard) -> None:
    put(client, "fleet", 90)
    put(client, "fleet", 50)
    assert seen(client) == (2, 9, 0, 0)


def test_what_a_worker_has_claimed_waits_and_is_not_unread(client: Shard) -> None:
    for ago in (90, 50, 20):
        put(client, "fleet", ago)
    worker = Consumer(client, "one")
    (first,) = worker.claim(1, 0.01)
    assert seen(client) == (2, 9, 0, 0)
    worker.acknowledge([inbox.Done(first, "stored")])
    assert seen(client) == (2, 5, 0, 0)
    others = worker.claim(10, 0.01)
    assert seen(client) == (0, 5, 0, 0)
    worker.acknowledge([inbox.Done(entry, "stored") for entry in others])
    assert inbox.backlog(client) == NOTHING


def test_what_is_held_is_apart_and_comes_back_when_the_hold_ends(client: Shard) -> None:
    put(client, "broken", 200)
    put(client, "broken", 100)
    put(client, "fleet", 30)
    entries = Consumer(client, "one").claim(10, 0.01)
    holds = Holds(client)
    holds.hold("broken", Hold("why", 1.0))
    holds.set_aside("broken", [entry for entry in entries if entry.source == "broken"])
    assert seen(client) == (0, 3, 2, 20)
    put(client, "broken", 0)
    assert seen(client) == (1, 3, 2, 20)
    holds.release("broken")
    assert seen(client) == (1, 20, 0, 0)


def test_shards_become_one() -> None:
    one, other = Backlog(1, 5.0, Depth(2, 7.0)), Backlog(3, 4.0, Depth(5, 9.0))
    assert merged_backlog([one, other]) == Backlog(4, 5.0, Depth(7, 9.0))
