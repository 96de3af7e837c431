"""The inbox cut into shards: where the ingress appends, what replicas confirm, what was lost, the end of a shard."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shared import inbox
from shared.inbox import Appender, RedisUnavailable, Shards, append, demands
from shared.inbox.client import connect_async
from shared.inbox.keys import Keys
from shared.settings import Settings
from tests.conftest import wait_until
from tests.own_redis import own_redis, place_of, run, url_of

GROUP = [("a", b"1"), ("b", b"2")]


def between(url: str, numbers: int, steps: Callable[[Shards], Awaitable[None]], **options: Any) -> None:
    """Takes the steps with the shards of this Redis, of which the first is preferred."""

    async def go() -> None:
        shards = Shards([Appender(connect_async(url, 5.0, number), 10, 5.0, **options) for number in range(numbers)])
        try:
            await steps(shards)
        finally:
            await shards.close()

    asyncio.run(go())


@pytest.fixture
def shards(redis_url: str) -> Iterator[list[inbox.Shard]]:
    found = [inbox.connect(redis_url, 5.0, number) for number in range(3)]
    yield found
    for shard in found:
        shard.close()


def depths(shards: list[inbox.Shard]) -> list[int]:
    return [inbox.take_snapshot(shard).depth.entries for shard in shards]


def test_an_ingress_stays_with_one_shard_and_others_prefer_others(redis_url: str, shards: list[inbox.Shard]) -> None:
    async def steps(appended: Shards) -> None:
        for _ in range(3):
            await appended.append(GROUP)

    between(redis_url, 3, steps)
    assert depths(shards) == [6, 0, 0]
    settings = Settings(redis_url=redis_url, inbox_shards=3)
    first = {Shards.connect(settings)._choices[0].number}
    assert first <= {0, 1, 2}


def test_ingresses_in_containers_prefer_different_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is the only process of its container, and has the id 1."""
    monkeypatch.setattr("os.getpid", lambda: 1)
    settings = Settings(inbox_shards=3)
    preferred = set()
    for number in range(3):
        monkeypatch.setattr("socket.gethostname", lambda number=number: f"ingress-{number}")
        preferred.add(Shards.connect(settings)._choices[0].number)
    assert preferred == {0, 1, 2}


def test_a_full_shard_sends_the_group_to_the_next_one_and_takes_again_once_it_is_not(
    redis_url: str, shards: list[inbox.Shard]
) -> None:
    async def steps(appended: Shards) -> None:
        for _ in range(6):
            await appended.append(GROUP)
        assert depths(shards) == [10, 2, 0]
        assert appended.failure is None
        shards[0].delete(shards[0].names.inbox)
        await appended.append(GROUP)
        assert depths(shards) == [0, 4, 0], "it is not asked before it is probed"
        await appended.probe()
        await appended.append(GROUP)
        assert depths(shards) == [2, 4, 0]

    between(redis_url, 3, steps)


def test_only_when_every_shard_is_away_nothing_is_appended(redis_url: str, shards: list[inbox.Shard]) -> None:
    async def steps(appended: Shards) -> None:
        for shard in shards:
            inbox.retire(shard)
        with pytest.raises(RedisUnavailable, match="this shard of the inbox is retired"):
            await appended.append(GROUP)
        state = await appended.state()
        assert not state.takes
        assert "shard 2: this shard of the inbox is retired" in state.words
        with pytest.raises(RedisUnavailable, match="retired"):
            await appended.probe()
        assert inbox.restore(shards[1])
        await appended.probe()
        await appended.append(GROUP)
        assert depths(shards) == [0, 2, 0]
        state = await appended.state()
        assert state.takes
        assert "shard 1" not in state.words

    between(redis_url, 3, steps)


def test_a_group_does_not_wait_for_each_shard_of_a_redis_that_hangs() -> None:
    """Each would get a copy of it, too."""
    asked: list[int] = []

    class Hangs(Appender):
        async def append(self, group: inbox.Group, seconds: float | None = None, confirm: bool = True) -> None:
            asked.append(self._names.number)
            await asyncio.sleep(0.05)
            raise RedisUnavailable("hangs")

    async def go() -> None:
        appenders = [Hangs(connect_async("redis://127.0.0.1:1", 1.0, number), 10, 1.0) for number in range(8)]
        appended = Shards(appenders, 0, 0.08)
        with pytest.raises(RedisUnavailable, match="no shard took the callbacks"):
            await appended.append(GROUP)
        assert 0 < len(asked) <= 2
        assert appended.failure is None, "the others are tried with the next groups"
        for _ in range(8):
            with pytest.raises(RedisUnavailable):
                await appended.append(GROUP)
        assert asked == [*range(8)]
        assert appended.failure == "hangs"

    asyncio.run(go())


def test_the_ledger_is_the_sum_of_the_shards(redis_url: str, shards: list[inbox.Shard]) -> None:
    async def steps(appended: Shards) -> None:
        await appended.append(GROUP)
        inbox.retire(shards[0])
        await appended.append(GROUP)
        found = await appended.snapshot()
        assert found.depth.entries == 4
        assert found.ledger["a"]["appended"] == 2
        assert found.difference == 0
        assert {number: depth.entries for number, depth in found.shards.items()} == {0: 2, 1: 2, 2: 0}

    between(redis_url, 3, steps)


def test_the_same_shards_by_several_redis(tmp_path: Path, redis_url: str) -> None:
    async def steps(appended: Shards) -> None:
        await appended.append(GROUP)

    with own_redis(tmp_path) as own:
        settings = Settings(redis_url=f"{redis_url} {url_of(own)}", inbox_shards=4)
        with inbox.Inbox.connect(settings, 5.0) as found:
            assert [shard.url.hosts[0][1] for shard in found.shards[::2]] == [found.first.url.hosts[0][1]] * 2
            assert [shard.url.hosts[0][1] for shard in found.shards[1::2]] == [own.url.hosts[0][1]] * 2
            assert [shard.names.number for shard in found.shards] == [0, 1, 2, 3]
            between(url_of(own), 2, steps)
            assert found.snapshot().depth.entries == 0, "shard 0 of the second Redis is none of these"
            assert [each.names.inbox for each in found.shards[:2]] == [Keys(0).inbox, Keys(1).inbox]


def test_a_worker_s_entry_is_known_by_its_shard(redis_url: str, shards: list[inbox.Shard]) -> None:
    async def steps(appended: Shards) -> None:
        inbox.retire(shards[0])
        await appended.append(GROUP)

    between(redis_url, 2, steps)
    first, second = inbox.Consumer(shards[1], "one").claim(2, 0.01)
    assert (first.shard, first.inbox_id) == (1, f"{first.id}@1")
    reclassifier = inbox.Reclassifier(shards)
    assert not reclassifier.is_counted(first.inbox_id)
    inbox.Consumer(shards[1], "one").acknowledge([inbox.Done(first, "stored"), inbox.Done(second, "dead")])
    assert reclassifier.is_counted(first.inbox_id)
    assert reclassifier.is_counted("1-0@7"), "of a shard that was removed"


def test_a_replay_is_counted_in_the_sum_wherever_the_callback_was_counted(
    redis_url: str, shards: list[inbox.Shard]
) -> None:
    async def steps(appended: Shards) -> None:
        inbox.retire(shards[0])
        await appended.append(GROUP)

    between(redis_url, 2, steps)
    worker = inbox.Consumer(shards[1], "one")
    worker.acknowledge([inbox.Done(entry, "dead") for entry in worker.claim(2, 0.01)])
    change = inbox.Reclassification(uuid4(), "a", "dead", "stored")
    none = inbox.Reclassification(uuid4(), "z", "dead", "stored")
    reclassifier = inbox.Reclassifier(shards)
    assert reclassifier.reclassify([change, none]) == 1
    assert reclassifier.reclassify([change]) == 0, "each is counted once"
    with inbox.Inbox.connect(Settings(redis_url=redis_url, inbox_shards=3), 5.0) as found:
        snapshot = found.snapshot()
    assert (snapshot.ledger["a"]["dead"], snapshot.ledger["a"]["stored"]) == (0, 1)
    assert snapshot.difference == 0


def away(*_: Any) -> None:
    raise ConnectionError


def test_what_a_removed_shard_counted_stays_in_the_ledger_once(
    redis_url: str, shards: list[inbox.Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(appended: Shards) -> None:
        inbox.retire(shards[0])
        inbox.retire(shards[1])
        await appended.append(GROUP)

    between(redis_url, 3, steps)
    worker = inbox.Consumer(shards[2], "one")
    worker.acknowledge([inbox.Done(entry, "stored", ["odd"]) for entry in worker.claim(2, 0.01)])
    counts = shards[2].hgetall(shards[2].names.ledger)
    heard = inbox.take_snapshot(shards[2]).heard
    shards[0].hset(shards[0].names.heard, mapping={"a": 1, "later": 2})
    shards[2].hset(shards[2].names.heard, "later", 1)
    shards[2].hset(shards[2].names.notes, mapping={"lost": 3, "shards": 3})
    with monkeypatch.context() as interrupted:
        interrupted.setattr(shards[2], "pipeline", away)
        with pytest.raises(RedisUnavailable):
            inbox.fold(shards[2], shards[0])
    assert inbox.take_snapshot(shards[2]).ledger["a"]["stored"] == 1
    inbox.fold(shards[2], shards[0])
    inbox.fold(shards[2], shards[0])
    found = inbox.take_snapshot(shards[0])
    assert found.ledger["a"]["stored"] == 1
    assert found.oddities["a"] == {"odd": 1}
    assert found.heard == {**heard, "later": 0.002}
    assert found.notes.lost == 3
    assert inbox.take_snapshot(shards[2]).ledger == {}
    assert inbox.take_snapshot(shards[2]).notes.lost == 0
    shards[2].hset(shards[2].names.ledger, mapping=counts)  # type: ignore[arg-type]  # restored, it counted the same
    inbox.fold(shards[2], shards[0])
    assert inbox.take_snapshot(shards[0]).ledger["a"]["stored"] == 2


def test_processes_that_know_other_shards_are_named(redis_url: str, shards: list[inbox.Shard]) -> None:
    assert inbox.examine(shards).unmet == []
    inbox.note_shards(shards[0], 2)
    (unmet,) = inbox.examine(shards).unmet
    assert unmet == "is cut into 2 shards by the workers, and into 3 here: set CALLBOX_INBOX_SHARDS alike"
    assert inbox.examine(shards[:2]).unmet == []
    shards[2].xadd(shards[2].names.inbox, {"s": "a", "c": b""})
    (unmet,) = inbox.examine(shards[:2]).unmet
    assert unmet == "has 1 callbacks in shard 2, which is not configured: raise CALLBOX_INBOX_SHARDS"


def test_callbacks_in_a_redis_that_was_named_in_another_order_are_found(tmp_path: Path, redis_url: str) -> None:
    """Nobody drains them, and the ledger does not have them."""

    async def steps(appended: Shards) -> None:
        await appended.append(GROUP)

    def unmet(*urls: str) -> list[str]:
        with inbox.Inbox.connect(Settings(redis_url=" ".join(urls)), 5.0) as found:
            return list(inbox.examine(found.shards).unmet)

    with own_redis(tmp_path) as own:
        between(redis_url, 1, steps)
        assert unmet(redis_url, url_of(own)) == []
        (says,) = unmet(url_of(own), redis_url)
        assert says.startswith("has 2 callbacks in shard 0, which is not configured to be at 127.0.0.1:")
        assert "in the order that they had" in says
        assert unmet(url_of(own), url_of(own), redis_url) == [says], "also where one is named twice"


def test_of_several_redis_that_which_is_away_is_named(redis_url: str) -> None:
    says = r"^shard 1 at 127\.0\.0\.1:1: Redis does not answer"
    settings = Settings(redis_url=f"{redis_url} redis://127.0.0.1:1")
    with inbox.Inbox.connect(settings, 1.0) as found, pytest.raises(RedisUnavailable, match=says):
        inbox.examine(found.shards)


def test_a_redis_that_went_back_is_found_by_the_next_append(redis_url: str, shards: list[inbox.Shard]) -> None:
    """As a replica that takes over and lacks the latest callbacks."""

    async def steps(appended: Shards) -> None:
        await appended.append(GROUP)
        (name,) = shards[0].keys(f"{shards[0].names.writer}*")
        before = shards[0].get(name)
        await appended.append(GROUP)
        await appended.append(GROUP)
        await appended.report_lost()
        assert (await appended.snapshot()).notes.lost == 0
        shards[0].set(name, before)  # type: ignore[arg-type]
        await appended.append(GROUP)
        await appended.report_lost()
        await appended.report_lost()
        assert (await appended.snapshot()).notes.lost == 4
        await appended.append(GROUP)
        await appended.report_lost()
        assert (await appended.snapshot()).notes.lost == 4, "it is counted once"

    between(redis_url, 1, steps)


def test_what_was_lost_is_noted_once_redis_takes_the_note(
    redis_url: str, shards: list[inbox.Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(appended: Shards) -> None:
        appender = appended._choices[0].appender
        appender.lost = 3
        with monkeypatch.context() as failing:
            failing.setattr(appender._shard, "hincrby", away)
            await appended.report_lost()
            assert appender.lost == 3
        await appended.report_lost()
        await appended.report_lost()
        assert (await appended.snapshot()).notes.lost == 3

    between(redis_url, 1, steps)


def test_a_count_that_redis_forgot_with_time_is_no_loss(
    redis_url: str, shards: list[inbox.Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a shard that a process needed once, and then again after more than a month."""
    monkeypatch.setattr(append, "WRITER_SECONDS", 1)

    async def steps(appended: Shards) -> None:
        await appended.append(GROUP)
        wait_until(lambda: not shards[0].keys(f"{shards[0].names.writer}*"), "Redis forgets the count")
        await appended.append(GROUP)
        assert appended._choices[0].appender.lost == 0

    between(redis_url, 1, steps)


def test_appends_that_overtake_each_other_are_no_loss_and_one_loss_is_counted_once(redis_url: str) -> None:
    """The committer and the mover of the spool append at the same time."""

    async def steps(appended: Shards) -> None:
        appender = appended._choices[0].appender
        appender._compare(2, 2, 0)
        appender._compare(6, 4, 0)  # it was sent later, and answered first
        appender._compare(4, 4, 0)
        assert (appender.lost, appender._total) == (0, 6)
        appender._compare(3, 8, 0)
        appender._compare(5, 8, 0)  # both were under way when Redis went back
        assert (appender.lost, appender._total) == (5, 5)
        appender._compare(7, 7, 1)
        assert appender.lost == 5

    between(redis_url, 1, steps)


@pytest.fixture
def with_replica(tmp_path: Path) -> Iterator[tuple[inbox.Shard, inbox.Shard]]:
    """A primary, and a replica that has all of it on disk too."""
    for name in "ab":
        (tmp_path / name).mkdir()
    with own_redis(tmp_path / "a") as primary, own_redis(tmp_path / "b") as replica:
        primary.config_set("repl-diskless-sync-delay", 0)  # no other replica comes that it could wait for
        replica.config_set("masterauth", "pw")
        run(replica, "REPLICAOF", *map(str, place_of(primary)))
        wait_until(lambda: bool(inbox.examine([primary], 1).unmet) is False, "the replica confirms")
        yield primary, replica


def test_a_group_is_durable_once_replicas_have_it_on_disk(with_replica: tuple[inbox.Shard, inbox.Shard]) -> None:
    primary, replica = with_replica

    async def steps(appended: Shards) -> None:
        await appended.append(GROUP)
        assert dict(appended.confirming) == {0: 1}
        assert appended.failure is None
        assert replica.xlen(replica.names.inbox) == 2
        primary.script_flush()
        await appended.append(GROUP)

    between(url_of(primary), 1, steps, wait_replicas=1)
    assert replica.xlen(replica.names.inbox) == 4


def test_without_enough_replicas_it_is_not_durable_although_redis_has_it(
    with_replica: tuple[inbox.Shard, inbox.Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, replica = with_replica

    async def steps(appended: Shards) -> None:
        monkeypatch.setattr(demands, "CONFIRM_MILLISECONDS", 100)
        run(replica, "REPLICAOF", "NO", "ONE")
        wait_until(lambda: inbox.examine([primary], 1).unmet != [], "the replica is gone")
        for _ in range(2):
            with pytest.raises(RedisUnavailable, match="only 0 of 1 replicas confirm"):
                await appended.append(GROUP)
        assert primary.xlen(primary.names.inbox) == 4, "the drain goes on with what Redis has"
        appended._choices[0].failure = None
        for _ in range(3):
            with pytest.raises(RedisUnavailable, match="only 0 of 1 replicas confirm"):
                await appended.move(GROUP, 0.5)
        assert primary.xlen(primary.names.inbox) == 6, "nobody asks for more before a probe has found them"
        for _ in range(8):  # an idle Redis says so at different moments, all of them after its time
            with pytest.raises(RedisUnavailable, match="only 0 of 1 replicas confirm"):
                await appended.probe()
        assert dict(appended.confirming) == {0: 0}
        run(replica, "REPLICAOF", *map(str, place_of(primary)))
        wait_until(lambda: inbox.examine([primary], 1).unmet == [], "the replica is back")
        monkeypatch.undo()
        (name,) = primary.keys(f"{primary.names.writer}*")
        primary.set(name, 0)  # as if a replica without them had taken over
        await appended.probe()
        await appended.append(GROUP)
        await appended.report_lost()
        assert (await appended.snapshot()).notes.lost == 0, "who appended them made them durable elsewhere"

    async def quick(appended: Shards) -> None:
        for choice in appended._choices:
            choice.appender._deadline_seconds = 0.5
        await steps(appended)

    between(url_of(primary), 1, quick, wait_replicas=1)
    assert "its replicas" not in repr(inbox.examine([primary], 1))
    (unmet,) = inbox.examine([primary], 2).unmet
    assert unmet.startswith("has 1 replicas, of which 1 confirm")


def test_a_redis_without_a_replica_cannot_promise_one(
    shards: list[inbox.Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demands, "CONFIRM_MILLISECONDS", 100)
    (unmet,) = inbox.examine(shards[:1], 1).unmet
    assert "CALLBOX_REDIS_WAIT_REPLICAS is 1" in unmet
