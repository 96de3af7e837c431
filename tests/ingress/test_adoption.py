"""The adoption of spool files by hand, into a real Redis: nothing is lost, wherever it is interrupted."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingress import adoption, spool, spool_files
from ingress.adoption import Adoption
from ingress.spool import Spool, SpoolError, SpoolInUse
from shared import inbox
from shared.callback import pack
from shared.inbox import RedisUnavailable, Shard
from shared.settings import Settings
from tests.ingress.conftest import a_callback
from tests.keys import INBOX

LIMIT_BYTES = 1 << 20
GROUP = [("fleet", pack(a_callback())) for _ in range(30)] + [("otp", pack(a_callback(source="otp")))] * 3


@pytest.fixture
def client(redis_url: str) -> Iterator[Shard]:
    with inbox.connect(redis_url, 5.0) as client:
        yield client


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return Settings(redis_url=redis_url, append_seconds=20)


def left_behind(folder: Path, group: Any = GROUP) -> Path:
    """A spool file whose ingress is gone."""
    file = spool.create(folder, LIMIT_BYTES)
    file.append(group)
    file.close()
    return file.path


def adopt(path: Path, settings: Settings) -> dict[str, int]:
    """What was moved."""
    adopted = Adoption(path, settings)
    asyncio.run(adopted.move())
    return dict(adopted.moved)


def packed_in(client: Shard) -> list[bytes]:
    entries: Any = client.xrange(INBOX)
    return [fields[b"c"] for _, fields in entries]


def spooled_in(client: Shard) -> Any:
    return inbox.take_snapshot(client).spooled


async def reported(settings: Settings, file: str, counts: dict[str, int]) -> None:
    shards = inbox.Shards.connect(settings)
    await shards.report_spool(file, counts)
    await shards.close()


def test_a_file_is_moved_in_order_and_removed_with_all_that_is_known_of_it(
    tmp_path: Path, client: Shard, settings: Settings
) -> None:
    path = left_behind(tmp_path)
    asyncio.run(reported(settings, path.name, {"fleet": 30, "otp": 3}))
    assert spooled_in(client) == {"fleet": 30, "otp": 3}
    assert adopt(path, settings) == {"fleet": 30, "otp": 3}
    assert packed_in(client) == [packed for _, packed in GROUP]
    assert spooled_in(client) == {}
    assert list(tmp_path.iterdir()) == []


def test_the_report_of_a_file_that_was_emptied_just_before_its_ingress_died_is_removed_too(
    tmp_path: Path, client: Shard, settings: Settings
) -> None:
    path = tmp_path / "x.spool"
    path.touch()
    asyncio.run(reported(settings, path.name, {"fleet": 30}))
    assert adopt(path, settings) == {}
    assert spooled_in(client) == {}
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_an_ingress_that_runs_is_refused(tmp_path: Path, settings: Settings) -> None:
    file = spool.create(tmp_path, LIMIT_BYTES)
    file.append(GROUP)
    with pytest.raises(SpoolInUse, match="its ingress runs, and moves it by itself"):
        Adoption(file.path, settings)
    assert file.counts() == {"fleet": 30, "otp": 3}
    file.close()


def test_what_is_no_spool_is_refused_and_stays_as_it_is(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "x.spool"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(SpoolError, match="it cannot be read as a spool"):
        Adoption(path, settings)
    assert path.read_bytes() == b"no database" * 1000
    assert list(tmp_path.iterdir()) == [path]


def test_while_redis_is_away_nothing_is_moved_and_the_file_stays(tmp_path: Path) -> None:
    path = left_behind(tmp_path)
    with pytest.raises(RedisUnavailable):
        adopt(path, Settings(redis_url="redis://127.0.0.1:1/0", connect_seconds=0.1))
    assert not spool.is_in_use(path)
    assert spool_files.read(path).counts == {"fleet": 30, "otp": 3}


def test_a_redis_that_takes_nothing_ends_it_with_its_reason(
    tmp_path: Path, client: Shard, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adoption, "PATIENCE_SECONDS", 0.1)
    path = left_behind(tmp_path)
    settings = Settings(redis_url=redis_url, append_seconds=20, move_seconds=1, inbox_limit=1)
    adopted = Adoption(path, settings)
    client.xadd(INBOX, {"s": "fleet", "c": b""})
    with pytest.raises(RedisUnavailable, match="the inbox holds as many callbacks as it may"):
        asyncio.run(adopted.move())
    assert adopted.moved == {}
    assert spool_files.read(path).counts == {"fleet": 30, "otp": 3}


def test_interrupted_after_a_group_it_has_counted_that_and_another_moves_the_rest(
    tmp_path: Path, client: Shard, settings: Settings
) -> None:
    path = left_behind(tmp_path)
    adopted = Adoption(path, settings)

    async def interrupt() -> None:
        moving = asyncio.create_task(adopted.move())
        while not adopted.moved:
            await asyncio.sleep(0)
        moving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await moving

    asyncio.run(interrupt())
    before = sum(adopted.moved.values())
    assert 0 < before < len(GROUP)
    after = adopt(path, settings)
    assert sum(after.values()) >= len(GROUP) - before
    assert sorted(set(packed_in(client))) == sorted({packed for _, packed in GROUP})
    assert spooled_in(client) == {}


def test_a_group_whose_removal_fails_counts_as_moved_and_comes_again_without_harm(
    tmp_path: Path, client: Shard, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = left_behind(tmp_path)
    adopted = Adoption(path, settings)

    def fail(*_: object) -> None:
        raise SpoolError("the spool cannot be emptied (disk I/O error)")

    with monkeypatch.context() as broken:
        broken.setattr(Spool, "remove_through", fail)
        with pytest.raises(SpoolError, match="cannot be emptied"):
            asyncio.run(adopted.move())
    assert sum(adopted.moved.values()) > 0
    assert adopt(path, settings) == {"fleet": 30, "otp": 3}
    assert {*packed_in(client)} == {packed for _, packed in GROUP}
    assert list(tmp_path.iterdir()) == []
