"""Connections to Redis for the inbox and for the doorbell."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError
from redis.maint_notifications import MaintNotificationsConfig

from shared.inbox.connection import (
    CONNECT_SECONDS,
    AsyncConnection,
    AsyncSocketConnection,
    AsyncTLSConnection,
    Connection,
    SocketConnection,
    TLSConnection,
)
from shared.inbox.errors import RedisUnavailable, or_unavailable
from shared.inbox.keys import Keys
from shared.inbox.locator import Locator, tls_options
from shared.inbox.pool import PatientPool
from shared.inbox.watch import Watch
from shared.redis_url import RedisURL, parse_redis_url
from shared.settings import Settings

R = TypeVar("R")


class Shard(redis.Redis):
    """One inbox: a client of the Redis that has it, and the names of its keys there."""

    def __init__(self, pool: redis.ConnectionPool, names: Keys, url: RedisURL) -> None:
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self.names = names
        self.url = url


class AsyncShard(redis.asyncio.Redis):
    """The same for asyncio. Its user sets the deadline of a call: redis-py's own would start a task for each."""

    def __init__(self, pool: redis.asyncio.ConnectionPool, names: Keys) -> None:
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self.names = names


def connect(url: str, timeout_seconds: float, number: int = 0) -> Shard:
    """The shard of this number in the Redis at this URL. It answers or fails within the timeout: with redis-py's own
    defaults it may take a minute."""
    return _connect(parse_redis_url(url), timeout_seconds, number)


def sibling(shard: Shard, number: int) -> Shard:
    """The shard of another number in the same Redis."""
    timeout_seconds: float = shard.connection_pool.connection_kwargs["socket_timeout"]
    return _connect(shard.url, timeout_seconds, number)


def _connect(url: RedisURL, timeout_seconds: float, number: int) -> Shard:
    names = Keys(number)
    seconds = min(timeout_seconds, CONNECT_SECONDS)
    options = connection_options(url, names.tag)
    pool = redis.ConnectionPool(socket_timeout=timeout_seconds, socket_connect_timeout=seconds, **options)
    return Shard(pool, names, url)


def connect_async(url: str, connect_seconds: float, number: int = 0) -> AsyncShard:
    """The same for asyncio: connecting has a limit, a call has none."""
    names = Keys(number)
    options = connection_options(parse_redis_url(url), names.tag, is_async=True)
    return AsyncShard(PatientPool(socket_timeout=None, socket_connect_timeout=connect_seconds, **options), names)


def connect_all(settings: Settings, timeout_seconds: float) -> list[Shard]:
    """All shards that the settings name."""
    return [connect(url, timeout_seconds, number) for number, url in enumerate(settings.shard_urls)]


def connect_broker(url: str, timeout_seconds: float) -> redis.Redis:
    """A client of the Redis where Celery lives, which answers or fails within the timeout."""
    seconds = min(timeout_seconds, CONNECT_SECONDS)
    pool = redis.ConnectionPool(socket_timeout=timeout_seconds, socket_connect_timeout=seconds, **broker_options(url))
    return redis.Redis.from_pool(pool)


def connect_broker_async(url: str, connect_seconds: float) -> redis.asyncio.Redis:
    """The same for asyncio: connecting has a limit, a call has none."""
    options = connection_options(parse_redis_url(url), is_async=True)
    return redis.asyncio.Redis.from_pool(
        PatientPool(socket_timeout=None, socket_connect_timeout=connect_seconds, **options)
    )


def broker_options(url: str) -> dict[str, Any]:
    """What a pool of redis-py takes to reach the broker at this URL. Its user sets the limits of time."""
    return connection_options(parse_redis_url(url))


def connection_options(url: RedisURL, tag: str = "", is_async: bool = False) -> dict[str, Any]:
    """What a pool of redis-py takes so that its connections go to the primary of the shard with this hash tag."""
    options: dict[str, Any] = {
        "connection_class": _connection_class(url, is_async),
        "watch": _watch(url, tag),
        "db": url.database,
        "username": url.username,
        "password": url.password,
        "retry": (redis.asyncio.retry if is_async else redis.retry).Retry(NoBackoff(), 0),
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    return options | tls_options(url)


@cache
def _watch(url: RedisURL, tag: str) -> Watch:
    """The only one of this process."""
    return Watch(Locator(url, tag))


def _connection_class(url: RedisURL, is_async: bool) -> type[Any]:
    if url.path:
        return AsyncSocketConnection if is_async else SocketConnection
    if url.is_tls:
        return AsyncTLSConnection if is_async else TLSConnection
    return AsyncConnection if is_async else Connection


@or_unavailable
def ping(client: redis.Redis) -> bool:
    """True, once this shard's Redis, or the broker, answers. Raises RedisUnavailable while it does not."""
    return bool(client.ping())


def ping_anew(shard: Shard, seconds: float) -> None:
    """Returns once this shard's Redis answers over a new connection. Raises RedisUnavailable unless it does in time."""
    with _connect(shard.url, seconds, shard.names.number) as other:
        ping(other)


def ask_each(shards: Sequence[Shard], question: Callable[[Shard], R]) -> list[R]:
    """What each shard answers, in their order. Raises RedisUnavailable, which names the shard where several Redis have
    them."""
    ask = _ask_named if are_apart(shards) else _ask
    return [ask(shard, question) for shard in shards]


def are_apart(shards: Sequence[Shard]) -> bool:
    """Whether several Redis have them."""
    return any(shard.url != shards[0].url for shard in shards)


def _ask(shard: Shard, question: Callable[[Shard], R]) -> R:
    return question(shard)


def _ask_named(shard: Shard, question: Callable[[Shard], R]) -> R:
    try:
        return question(shard)
    except RedisUnavailable as error:
        raise RedisUnavailable(f"shard {shard.names.number} at {shard.url.place}: {error}") from error


@or_unavailable
def is_full(shard: Shard) -> bool:
    """Whether Redis has no memory left for any write. Raises RedisUnavailable."""
    try:
        shard.set(shard.names.probe, b"")
    except OutOfMemoryError:
        return True
    return False


def text_of(value: object) -> str:
    """What Redis answered, as text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
