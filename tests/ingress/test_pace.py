"""How groups shrink and grow, and that a slow link is not sent the same callbacks without end."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from ingress import spool_mover
from ingress.keeper import Keeper
from ingress.pace import Pace
from ingress.spool_mover import SpoolMover
from ingress.spools import Spools
from shared.inbox import RedisUnavailable, Shards
from shared.settings import Settings
from tests.ingress.conftest import Inbox, NoBroker


def test_a_group_is_halved_and_grows_slowly_again() -> None:
    pace = Pace(500, 1 << 20)
    assert (pace.count, pace.limit_bytes) == (500, 1 << 20)
    pace.shrink()
    assert (pace.count, pace.limit_bytes) == (250, 1 << 19)
    pace.grow()
    assert 250 < pace.count < 300
    for _ in range(100):
        pace.grow()
    assert pace.count == 500


def test_a_group_has_always_one_callback() -> None:
    pace = Pace(500, 1 << 20)
    for _ in range(100):
        pace.shrink()
    assert (pace.count, pace.limit_bytes) == (1, 1024)


class SlowLink(Inbox):
    """Takes this number of bytes a second, behind a delay. A group that takes longer than the caller waits arrives
    without being confirmed."""

    def __init__(self, bytes_a_second: float, delay_seconds: float) -> None:
        super().__init__()
        self._bytes_a_second = bytes_a_second
        self._delay_seconds = delay_seconds

    async def append(
        self, group: Sequence[tuple[str, bytes]], seconds: float | None = None, confirm: bool = True
    ) -> None:
        takes = self._delay_seconds + sum(len(packed) for _, packed in group) / self._bytes_a_second
        await asyncio.sleep(min(takes, seconds or 0.01))
        self.appended.append(list(group))
        if takes > (seconds or 0.01):
            raise RedisUnavailable("Redis did not answer in time")


@pytest.mark.parametrize("first_share", [1 / 64, 1.0])
def test_what_is_spooled_arrives_through_a_slow_link_and_seldom_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_share: float
) -> None:
    """The whole spool in one group takes ten times as long as a group may."""
    monkeypatch.setattr(spool_mover, "FIRST_SHARE", first_share)
    monkeypatch.setattr(spool_mover, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(spool_mover, "MOVE_PAUSE_SECONDS", 0.0)
    spooled = [("a", b"%04d" % number + b"x" * 996) for number in range(500)]
    link = SlowLink(bytes_a_second=500_000, delay_seconds=0.002)

    async def run() -> None:
        settings = Settings(spool_dir=str(tmp_path), move_seconds=0.1, append_seconds=0.05)
        spools = Spools(settings)
        await spools.append(spooled)
        shards = Shards([link])
        mover = SpoolMover(Keeper(shards, spools, NoBroker(), settings), spools, shards, settings)
        moving = asyncio.create_task(mover.run())
        async with asyncio.timeout(60):
            while spools.files and await spools.counts(spools.files[0]):
                await asyncio.sleep(0.01)
        moving.cancel()
        await asyncio.wait([moving])
        await spools.close()

    monkeypatch.setattr(Inbox, "report_spool", report_nothing)
    asyncio.run(run())
    arrived = [packed for group in link.appended for _, packed in group]
    assert set(arrived) == {packed for _, packed in spooled}
    assert len(arrived) < 3 * len(spooled), "fewer than two repeats for each"


async def report_nothing(*_: object) -> None:
    pass
