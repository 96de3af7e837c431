"""Connections to Redis for the inbox, and the one error that they raise."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from shared.errors import Unavailable
from shared.inbox.keys import PROBE

P = ParamSpec("P")
R = TypeVar("R")

Client = redis.Redis
AsyncClient = redis.asyncio.Redis


class RedisUnavailable(Unavailable):
    """Redis is away, does not answer in time, or refuses."""


def connect(url: str, timeout_seconds: float) -> Client:
    """A client that answers or fails within the timeout: redis-py's own defaults hold a caller for a minute."""
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=redis.retry.Retry(NoBackoff(), 0),
    )


def connect_async(url: str, connect_seconds: float) -> AsyncClient:
    """A client that only connects within a timeout. Its user sets the deadline of a call: redis-py's own would start a
    task for each."""
    return redis.asyncio.Redis.from_url(
        url,
        socket_timeout=None,
        socket_connect_timeout=connect_seconds,
        retry=redis.asyncio.retry.Retry(NoBackoff(), 0),
    )


def or_unavailable(call: Callable[P, R]) -> Callable[P, R]:
    """The function, raising RedisUnavailable for any error of Redis that it does not handle itself."""

    @wraps(call)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except (RedisError, OSError) as error:
            raise unavailable(error) from error

    return wrapped


def unavailable(error: Exception) -> RedisUnavailable:
    """What an error of Redis says to whoever waits for it, without Redis's own text, which may cite data."""
    if isinstance(error, ResponseError) and str(error).startswith("FULL "):
        return RedisUnavailable(str(error).removeprefix("FULL "))
    does = "refuses" if isinstance(error, ResponseError) else "does not answer"
    return RedisUnavailable(f"Redis {does} ({type(error).__name__})")


@or_unavailable
def ping(client: Client) -> bool:
    """True, once Redis answers. Raises RedisUnavailable while it does not."""
    return bool(client.ping())


@or_unavailable
def is_full(client: Client) -> bool:
    """Whether Redis has no memory left for any write. Raises RedisUnavailable."""
    try:
        client.set(PROBE, b"")
    except OutOfMemoryError:
        return True
    return False


def text_of(value: object) -> str:
    """What Redis answered, as text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
