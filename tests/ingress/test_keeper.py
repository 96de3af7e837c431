"""Redis first, the spool behind it: what is kept where, and that it all ends in the inbox."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ingress import keeper as keepers
from ingress import spool, spool_mover
from ingress.keeper import Keeper
from ingress.spool_mover import SpoolMover
from ingress.spools import Spools
from shared.errors import Unavailable
from shared.inbox import Shards
from shared.settings import Settings
from tests.ingress.conftest import AWAY, Inbox, NoBroker

GROUPS = [[("a", b"%d" % number)] for number in range(5)]


class Switched(Inbox):
    """An inbox that is there or away, at once or after its deadline."""

    def __init__(self) -> None:
        super().__init__()
        self.state = "there"
        self.asks = 0
        self.reports: dict[str, dict[str, int]] = {}

    async def append(
        self, group: Sequence[tuple[str, bytes]], seconds: float | None = None, confirm: bool = True
    ) -> None:
        self.asks += 1
        await self._go()
        await super().append(group)

    async def probe(self) -> None:
        await self._go()

    async def report_spool(self, file: str, counts: Any) -> None:
        await self._go()
        self.reports[file] = dict(counts)

    async def _go(self) -> None:
        if self.state == "hangs":
            await asyncio.sleep(0.02)
        if self.state in ("away", "hangs"):
            raise AWAY

    @property
    def emptied(self) -> bool:
        """Whether every file reported that nothing is left in it."""
        return bool(self.reports) and not any(self.reports.values())

    def has_all_of(self, count: int) -> bool:
        """Whether `count` entries are there, and every file reported that nothing is left in it."""
        return len(self.all) == count and self.emptied

    @property
    def all(self) -> list[tuple[str, bytes]]:
        return [entry for group in self.appended for entry in group]


class Kept(NamedTuple):
    """A keeper, and who moves what it spooled."""

    keeper: Keeper
    mover: SpoolMover

    async def keep(self, group: list[tuple[str, bytes]]) -> None:
        await self.keeper.keep(group)


def check(folder: Path, steps: Callable[[Kept, Switched], Awaitable[None]], limit_bytes: int = 1 << 20) -> Switched:
    """Takes the steps, with nothing running in the background."""
    inbox = Switched()

    async def run() -> None:
        settings = Settings(group_count=2, spool_dir=str(folder), spool_bytes=limit_bytes)
        spools = Spools(settings)
        shards = Shards([inbox])
        keeper = Keeper(shards, spools, NoBroker(), settings)
        try:
            await steps(Kept(keeper, SpoolMover(keeper, spools, shards, settings)), inbox)
        finally:
            await spools.close()

    asyncio.run(run())
    return inbox


async def until(true: Callable[[], bool], keeper: Kept) -> None:
    """Lets the background task run until it is so."""
    tasks = [asyncio.create_task(work.run()) for work in (keeper.keeper, keeper.mover)]
    try:
        async with asyncio.timeout(20):
            while not true():
                await asyncio.sleep(0.005)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepers, "PROBE_SECONDS", 0.001)
    monkeypatch.setattr(spool_mover, "FIRST_SHARE", 1.0)
    for name in ("LOOK_SECONDS", "ADOPT_SECONDS", "MOVE_PAUSE_SECONDS"):
        monkeypatch.setattr(spool_mover, name, 0.001)


def test_while_redis_is_there_nothing_is_spooled(tmp_path: Path) -> None:
    async def steps(keeper: Kept, inbox: Switched) -> None:
        for group in GROUPS:
            await keeper.keep(group)

    assert check(tmp_path, steps).appended == GROUPS
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", ["away", "hangs"])
def test_what_redis_does_not_take_is_spooled_and_moved_in_order_when_it_is_back(tmp_path: Path, error: str) -> None:
    async def steps(keeper: Kept, inbox: Switched) -> None:
        inbox.state = error
        for group in GROUPS:
            await keeper.keep(group)
        assert inbox.appended == []
        assert inbox.asks == 1, "after one failure Redis is left alone"
        inbox.state = "there"
        await until(lambda: len(inbox.all) == len(GROUPS) and inbox.emptied, keeper)
        await keeper.keep([("a", b"direct")])

    inbox = check(tmp_path, steps)
    assert inbox.all == [*(entry for group in GROUPS for entry in group), ("a", b"direct")]
    assert max(map(len, inbox.appended)) == 2
    assert list(tmp_path.iterdir()) == []


def test_one_outage_after_another_is_spooled_and_moved(tmp_path: Path) -> None:
    async def steps(keeper: Kept, inbox: Switched) -> None:
        for number, group in enumerate(GROUPS, 1):
            inbox.state = "away"
            await keeper.keep(group)
            inbox.state = "there"
            await until(partial(inbox.has_all_of, number), keeper)

    assert check(tmp_path, steps).all == [entry for group in GROUPS for entry in group]
    assert list(tmp_path.iterdir()) == []


def test_an_append_that_fails_by_a_fault_of_ours_is_spooled_too(
    tmp_path: Path, log_entries: list[dict[str, Any]]
) -> None:
    async def steps(keeper: Kept, inbox: Switched) -> None:
        inbox._errors = [RuntimeError("s3cret")]
        await keeper.keep(GROUPS[0])
        await until(lambda: inbox.all == GROUPS[0], keeper)

    check(tmp_path, steps)
    assert [event["event"] for event in log_entries][:2] == ["append failed", "keeping callbacks in the spool"]


def test_what_an_ingress_left_is_adopted_and_moved(tmp_path: Path) -> None:
    left = spool.create(tmp_path, 1 << 20)
    left.append([("a", b"left")])
    left.close()

    async def steps(keeper: Kept, inbox: Switched) -> None:
        await until(lambda: inbox.all == [("a", b"left")] and inbox.emptied, keeper)

    check(tmp_path, steps)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_moved_waits_for_the_next_ingress(tmp_path: Path) -> None:
    async def first(keeper: Kept, inbox: Switched) -> None:
        inbox.state = "away"
        await keeper.keep(GROUPS[0])

    async def second(keeper: Kept, inbox: Switched) -> None:
        await until(lambda: inbox.all == GROUPS[0], keeper)

    check(tmp_path, first)
    assert list(tmp_path.iterdir()) != []
    check(tmp_path, second)


def test_without_redis_and_without_a_spool_nothing_is_kept_and_both_are_named() -> None:
    async def steps(keeper: Kept, inbox: Switched) -> None:
        inbox.state = "away"
        with pytest.raises(Unavailable, match=r"Redis does not answer .*; the spool cannot be made"):
            await keeper.keep(GROUPS[0])
        inbox.state = "there"
        await until(lambda: not keeper.keeper.is_redis_away, keeper)
        await keeper.keep(GROUPS[1])

    assert check(Path("/dev/null/spool"), steps).appended == [GROUPS[1]]


def test_a_full_spool_refuses_and_takes_again_once_it_was_moved(tmp_path: Path) -> None:
    large = [("a", b"x" * 30_000)]

    async def steps(keeper: Kept, inbox: Switched) -> None:
        inbox.state = "away"
        kept = 0
        with pytest.raises(Unavailable, match="full"):
            while kept < 100:
                await keeper.keep(large)
                kept += 1
        inbox.state = "there"
        await until(lambda: inbox.has_all_of(kept), keeper)
        inbox.state = "away"
        await keeper.keep(large)
        inbox.state = "there"
        await until(lambda: inbox.has_all_of(kept + 1), keeper)

    check(tmp_path, steps, limit_bytes=spool.SMALLEST_BYTES)


def test_a_file_that_cannot_be_read_does_not_hold_up_the_others(tmp_path: Path) -> None:
    (tmp_path / "0.spool").write_bytes(b"no database" * 1000)

    async def steps(keeper: Kept, inbox: Switched) -> None:
        inbox.state = "away"
        await keeper.keep(GROUPS[0])
        inbox.state = "there"
        await until(lambda: inbox.all == GROUPS[0], keeper)

    check(tmp_path, steps)


def test_an_outage_ends_although_callbacks_keep_coming_while_the_spool_is_moved(tmp_path: Path) -> None:
    """They would go into the very file that is being moved, faster than it empties, without end."""

    async def steps(keeper: Kept, inbox: Switched) -> None:
        inbox.state = "away"
        for group in GROUPS:
            await keeper.keep(group)

        async def provide() -> None:
            inbox.state = "there"
            while True:
                await keeper.keep([("b", b"1"), ("b", b"2"), ("b", b"3")])  # more than one move takes
                await asyncio.sleep(0)

        provider = asyncio.create_task(provide())
        try:
            await until(lambda: inbox.emptied, keeper)
        finally:
            provider.cancel()
            with suppress(asyncio.CancelledError):
                await provider

    check(tmp_path, steps)


def test_the_report_of_a_file_that_was_emptied_before_is_taken_back(tmp_path: Path) -> None:
    """Its ingress was killed after it had emptied the file, and before it said so."""
    (tmp_path / "left.spool").touch()

    async def steps(keeper: Kept, inbox: Switched) -> None:
        await until(lambda: inbox.reports.get("left.spool") == {}, keeper)

    check(tmp_path, steps)
