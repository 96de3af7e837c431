"""The honest traffic beside every attack: signed callbacks of all providers at a steady rate over open connections.

It is an open loop: a callback's latency counts from when it was due, so that one that waits for a connection counts.
"""

import asyncio
import random
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from deploy.local import simulator
from shared import config
from shared.providers import PROVIDERS
from shared.source import Source
from tests.hostile import children
from tests.hostile.system import honest_source
from tests.load.client import Answer, Client, encode

PER_SECOND = 200.0
CONNECTIONS = 16
ANSWER_SECONDS = 15.0  # a provider's patience


class Honest:
    """The process that sends it, from `start` to `stop`."""

    def __init__(self, url: str, configuration: Path, seed: int) -> None:
        self._where = (url, configuration)
        self._seed = seed
        self._pool, self._ended = children.process(children.HONEST_PRIORITY)
        self._running: Future[list[Answer]] | None = None

    def start(self) -> None:
        self._ended.clear()
        self._seed += 1
        self._running = self._pool.submit(_send, *self._where, self._seed)

    async def stop(self) -> list[Answer]:
        """All answers since `start`."""
        assert self._running is not None
        self._ended.set()
        return await asyncio.wrap_future(self._running)

    def close(self) -> None:
        self._ended.set()
        self._pool.shutdown()


def _send(url: str, configuration: Path, seed: int) -> list[Answer]:
    """In the process: sends until it is to end."""
    answers: list[Answer] = []
    sources = config.load(configuration, {}, PROVIDERS).sources
    client = Client(url, CONNECTIONS, ANSWER_SECONDS)
    uvloop.run(client.run(_callbacks(sources, random.Random(seed)), PER_SECOND, answers.append))
    return answers


def _callbacks(sources: Mapping[str, Source], dice: random.Random) -> Iterator[bytes]:
    chosen = [sources[honest_source(provider)] for provider in PROVIDERS]
    while not children.is_ended():
        kind: simulator.Kind = dice.choice(("mo", "dr"))
        yield encode(simulator.request(dice.choice(chosen), simulator.event(kind, datetime.now(UTC), dice)))
