"""How groups shrink and grow, and that a slow link is not sent the same callbacks without end."""

import asyncio
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ingress import keeper, spool_mover
from ingress.keeper import Keeper
from ingress.pace import Pace
from ingress.spool_mover import SpoolMover
from ingress.spools import Spools
from shared import inbox
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


class Link:
    """A port behind which a server is, over a link of this rate, with this delay each way."""

    def __init__(self, to: int, bytes_a_second: float, delay_seconds: float) -> None:
        self._to = to
        self._bytes_a_second = bytes_a_second
        self._delay_seconds = delay_seconds
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self._threads: list[threading.Thread] = []
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> "Link":
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, work: Callable[..., None], *args: Any) -> None:
        self._threads.append(threading.Thread(target=work, args=args, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += [near, far]
                for pair in ((near, far), (far, near)):
                    waiting: queue.Queue[tuple[float, bytes]] = queue.Queue()
                    self._start(self._read, pair[0], waiting)
                    self._start(self._write, pair[1], waiting)

    def _read(self, reader: socket.socket, waiting: "queue.Queue[tuple[float, bytes]]") -> None:
        free_at = time.monotonic()
        chunk = b"-"
        while chunk:
            try:
                chunk = reader.recv(8192)
            except OSError:
                chunk = b""
            free_at = max(free_at, time.monotonic()) + len(chunk) / self._bytes_a_second
            waiting.put((free_at + self._delay_seconds, chunk))
            time.sleep(max(0.0, free_at - time.monotonic()))  # what is sent faster waits with the sender

    def _write(self, writer: socket.socket, waiting: "queue.Queue[tuple[float, bytes]]") -> None:
        with suppress(OSError):
            while True:
                due, chunk = waiting.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not chunk:
                    writer.shutdown(socket.SHUT_RDWR)
                    return
                writer.sendall(chunk)


def test_a_spool_ends_through_a_link_of_1_mb_a_second_while_callbacks_arrive(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With groups of 500 it appended the same ones without end."""
    monkeypatch.setattr(spool_mover, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(keeper, "PROBE_SECONDS", 0.05)
    spooled = [("a", b"%06d" % number + b"x" * 994) for number in range(600)]
    live = [("b", b"%06d" % number) for number in range(100)]
    address = urlsplit(redis_url)

    async def run() -> None:
        with Link(address.port or 6379, 1_000_000, 0.03) as link:
            url = redis_url.replace(f":{address.port}/", f":{link.port}/")
            settings = Settings(redis_url=url, spool_dir=str(tmp_path))
            spools, shards = Spools(settings), Shards.connect(settings)
            await spools.append(spooled)
            kept = Keeper(shards, spools, NoBroker(), settings)
            mover = SpoolMover(kept, spools, shards, settings)
            tasks = [asyncio.create_task(work.run()) for work in (kept, mover)]
            for one in live:
                await kept.keep([one])
                await asyncio.sleep(0.01)
            async with asyncio.timeout(120):
                while any([await spools.counts(file) for file in spools.files]):
                    await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await spools.close()
            await shards.close()

    asyncio.run(run())
    with inbox.connect(redis_url, 5.0) as shard:
        found: Any = shard.xrange(shard.names.inbox)
    arrived = [(fields[b"s"].decode(), fields[b"c"]) for _, fields in found]
    assert set(arrived) == {*spooled, *live}
    assert len(arrived) < 3 * len(spooled), "fewer than two repeats for each"
