"""Clients of Redis for the inbox."""

from typing import TypeVar

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError

from shared.inbox.keys import PROBE

Client = TypeVar("Client", redis.Redis, redis.asyncio.Redis)


def connect(kind: type[Client], url: str, timeout_seconds: float) -> Client:
    """A client that answers or fails within the timeout: redis-py's own defaults hold a caller for a minute.

    An asynchronous one only connects within it. Its user sets the deadline of a call: redis-py's own would start a task
    for each.
    """
    retries = redis.retry.Retry(NoBackoff(), 0) if kind is redis.Redis else redis.asyncio.retry.Retry(NoBackoff(), 0)
    answer_seconds = timeout_seconds if kind is redis.Redis else None
    return kind.from_url(url, socket_timeout=answer_seconds, socket_connect_timeout=timeout_seconds, retry=retries)


def is_full(client: redis.Redis) -> bool:
    """Whether Redis has no memory left for anybody's writes. Raises redis.RedisError for any other trouble."""
    try:
        client.set(PROBE, b"")
    except OutOfMemoryError:
        return True
    return False


def text_of(value: object) -> str:
    """What Redis answered, as text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
