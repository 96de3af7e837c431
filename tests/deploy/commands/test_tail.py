"""What `callbox tail --refused` reads of a quarantine, over a real Redis."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.commands import tail
from deploy.commands.tail import MOST_BEFORE, RefusedFollower
from shared import inbox
from shared.inbox import Quarantine, Shard
from shared.refused import Refused
from tests.deploy.commands.test_refused import a_refused, keep


@pytest.fixture
def shard(redis_url: str) -> Iterator[Shard]:
    with inbox.connect(redis_url, 5.0) as shard:
        yield shard


def ids(*requests: Refused) -> set[Any]:
    return {request.callback.id for request in requests}


def test_each_request_is_shown_once_and_none_again_when_newer_ones_leave(
    shard: Shard, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "MOST_BEFORE", 5)
    quarantine, follower = Quarantine(shard), RefusedFollower("fleet")
    before, first, second = ([a_refused() for _ in range(5)] for _ in range(3))
    keep(redis_url, *before)
    time.sleep(0.005)  # what came in one millisecond has no order
    keep(redis_url, *first)
    assert {row.id for row in follower.look(quarantine, 5)} == ids(*first)
    keep(redis_url, *second)
    assert {row.id for row in follower.look(quarantine)} == ids(*second)
    members = [held.member for page in quarantine.oldest("fleet", 100) for held in page]
    quarantine.remove("fleet", members[-3:])
    assert follower.look(quarantine) == []


def test_a_look_reads_no_body_that_it_does_not_show(shard: Shard, redis_url: str) -> None:
    def written() -> int:
        found: Any = shard.info("stats")
        return int(found["total_net_output_bytes"])

    size = 200_000
    quarantine, follower = Quarantine(shard), RefusedFollower(None)
    keep(redis_url, a_refused(body=b"x" * size), a_refused(body=b"x" * size))
    for most in (0, MOST_BEFORE):
        before = written()
        assert follower.look(quarantine, most) == []
        assert written() - before < size
    keep(redis_url, a_refused(body=b"x" * size))
    before = written()
    assert len(follower.look(quarantine)) == 1
    assert size < written() - before < 2 * size
