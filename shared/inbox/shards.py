"""All shards of the inbox, from the ingress's end: each group goes to one of them."""

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import NamedTuple

from shared import logs
from shared.inbox.append import Appender, Group, TooFewReplicas
from shared.inbox.client import connect_async
from shared.inbox.errors import RedisUnavailable
from shared.inbox.snapshot import Snapshot, merged
from shared.settings import Settings

log = logs.get(__name__)


class State(NamedTuple):
    """Whether a shard would take a callback now; and in words `ok`, or which would not, and why."""

    takes: bool
    words: str


class _Choice:
    """A shard, and why nothing is to be appended to it now (None: it takes callbacks)."""

    def __init__(self, number: int, appender: Appender) -> None:
        self.number = number
        self.appender = appender
        self.failure: RedisUnavailable | None = None


class Shards:
    """One for each ingress process, which stays with one shard for as long as that one takes callbacks: a group of one
    shard is one append, and one fsync. What asks Redis raises RedisUnavailable."""

    def __init__(self, appenders: Sequence[Appender], first: int = 0, seconds: float = float("inf")) -> None:
        """`first` is the shard that this process prefers. An append begins at no further shard after `seconds`."""
        choices = [_Choice(number, appender) for number, appender in enumerate(appenders)]
        first %= len(choices)
        self._choices = choices[first:] + choices[:first]  # in the order of preference
        self._first_shard = appenders[0]
        self._seconds = seconds

    @classmethod
    def connect(cls, settings: Settings) -> "Shards":
        """The shards that the settings name."""
        limit, deadline = settings.inbox_limit // settings.shard_count, settings.append_seconds
        appenders = [
            Appender(
                connect_async(url, settings.connect_seconds, number), limit, deadline, settings.redis_wait_replicas
            )
            for number, url in enumerate(settings.shard_urls)
        ]
        return cls(appenders, _own_number(), 2 * deadline)

    @property
    def failure(self) -> str | None:
        """Why no shard takes callbacks, as far as is known; None while one does."""
        failures = [choice.failure for choice in self._choices]
        return str(failures[0]) if all(failures) else None

    @property
    def confirming(self) -> Mapping[int, int]:
        """By shard, how many replicas confirmed the latest append; only where they are waited for."""
        found = {choice.number: choice.appender.confirming for choice in self._choices}
        return {number: count for number, count in found.items() if count is not None}

    async def report_lost(self) -> None:
        """Notes in each shard that answers how many callbacks its Redis lost since the last time."""
        for choice in self._choices:
            appender = choice.appender
            if (count := appender.lost) and choice.failure is None:
                try:
                    await appender.report_lost(count)
                except RedisUnavailable:
                    continue  # later; the others take theirs
                appender.lost -= count
                log.error("Redis lost callbacks that were acknowledged", shard=choice.number, callbacks=count)

    async def append(self, group: Group) -> None:
        """To the first shard that takes it. Raises RedisUnavailable when none makes it durable; one may have it
        nevertheless. Once the time is up no further one is tried: several may be in one Redis, which hangs."""
        has_unconfirmed_copy = False
        ends_at = monotonic() + self._seconds
        for choice in self._choices:
            if choice.failure is None and monotonic() < ends_at:
                try:
                    return await choice.appender.append(group)
                except RedisUnavailable as error:
                    self._failed(choice, error)
                    has_unconfirmed_copy |= isinstance(error, TooFewReplicas)
                except Exception as error:
                    log.error("append failed", exc_info=error)
                    self._failed(choice, RedisUnavailable("the append failed"))
        if not has_unconfirmed_copy:
            await self._append_unconfirmed(group)
        raise RedisUnavailable(self.failure or "no shard took the callbacks")

    async def move(self, group: Group, seconds: float) -> None:
        """The same for a group that can wait longer, and that no one waits for."""
        failure: RedisUnavailable | None = None
        for choice in self._choices:
            if choice.failure is None:
                try:
                    return await choice.appender.append(group, seconds)
                except RedisUnavailable as error:
                    failure = error
                    if isinstance(error, TooFewReplicas):  # it has the group, and would get it again and again
                        self._failed(choice, error)
        raise failure or RedisUnavailable(self.failure)

    async def probe(self) -> None:
        """Asks each shard that took no callbacks whether it does again. Raises RedisUnavailable unless one does."""
        away = [choice for choice in self._choices if choice.failure is not None]
        await asyncio.gather(*(self._probe(choice) for choice in away))
        if failure := self.failure:
            raise RedisUnavailable(failure)

    async def state(self) -> State:
        """Asks each shard whether it would take a callback now."""
        outcomes = await asyncio.gather(*(_outcome(choice.appender) for choice in self._choices))
        takes = not all(outcomes)
        if len(self._choices) == 1:
            return State(takes, outcomes[0] or "ok")
        pairs = zip(self._choices, outcomes, strict=True)
        words = "; ".join(f"shard {choice.number}: {outcome}" for choice, outcome in pairs if outcome)
        return State(takes, words or "ok")

    async def report_spool(self, file: str, counts: Mapping[str, int]) -> None:
        """Notes in the first shard how many callbacks of each source wait in a spool file."""
        await self._first_shard.report_spool(file, counts)

    async def snapshot(self) -> Snapshot:
        """The shards that answer, at this moment. Raises RedisUnavailable when none does."""
        choices = sorted(self._choices, key=lambda choice: choice.number)
        found = await asyncio.gather(*(choice.appender.snapshot() for choice in choices), return_exceptions=True)
        snapshots = [each for each in found if isinstance(each, Snapshot)]
        for error in found:
            if isinstance(error, BaseException) and not (snapshots and isinstance(error, RedisUnavailable)):
                raise error
        return merged(snapshots)

    async def close(self) -> None:
        for choice in self._choices:
            await choice.appender.close()

    async def _append_unconfirmed(self, group: Group) -> None:
        """Has the drain go on while replicas are missing: the group is in Redis, but is not durable by that."""
        for choice in self._choices:
            if isinstance(choice.failure, TooFewReplicas):
                try:
                    await choice.appender.append(group, confirm=False)
                except RedisUnavailable as error:
                    choice.failure = error
                else:
                    return

    async def _probe(self, choice: _Choice) -> None:
        try:
            await choice.appender.probe()
        except RedisUnavailable as error:
            choice.failure = error
        else:
            choice.failure = None
            log.info("Redis is back", shard=choice.number)

    def _failed(self, choice: _Choice, failure: RedisUnavailable) -> None:
        choice.failure = failure
        if len(self._choices) > 1:
            log.warning("a shard takes no callbacks", shard=choice.number, why=str(failure))


def _own_number() -> int:
    """Distinguishes this process from others of its host, and from those of hosts whose names are numbered: in a
    container, every process may have the same id."""
    return os.getpid() + int.from_bytes(socket.gethostname().encode())


async def _outcome(appender: Appender) -> str | None:
    try:
        await appender.probe()
    except RedisUnavailable as error:
        return str(error)
    return None
