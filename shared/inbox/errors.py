"""The one error that is raised by all who ask Redis."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from redis.exceptions import AuthenticationError, AuthorizationError, RedisError, ResponseError

from shared.errors import Unavailable
from shared.inbox.connection import NotPrimary
from shared.inbox.locator import NoPrimary
from shared.inbox.reason import chain, reason

P = ParamSpec("P")
R = TypeVar("R")

_REFUSALS = (ResponseError, AuthenticationError, AuthorizationError)


class RedisUnavailable(Unavailable):
    """Redis is away, does not answer in time, or refuses."""


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
    """What an error of Redis means to whoever waits for it."""
    if isinstance(error, ResponseError) and str(error).startswith("FULL "):
        return RedisUnavailable(str(error).removeprefix("FULL "))
    if isinstance(error, NotPrimary):
        return RedisUnavailable(f"Redis is not the primary, or takes no writes ({error})")
    for each in chain(error):
        if isinstance(each, NoPrimary):
            return RedisUnavailable(f"Redis cannot be found: {each}")
    does = "refuses" if isinstance(error, _REFUSALS) else "does not answer"
    return RedisUnavailable(f"Redis {does} ({reason(error)})")
