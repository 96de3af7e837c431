"""Why Redis did not do what it was asked, in words and without Redis's own text, which may cite data."""

import os
import socket
import ssl
from collections.abc import Iterator

from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, OutOfMemoryError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError


def reason(error: BaseException) -> str:
    """For an error of a command, or of a connection to where Redis should be."""
    for each in chain(error):
        words = _of_network(each) if isinstance(each, OSError) else _of_redis(each)
        if words is not None:
            return words
    return "connection closed" if type(error) is RedisConnectionError else type(error).__name__


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from: redis-py raises its own in the place of what it met."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _of_redis(error: BaseException) -> str | None:
    match error:
        case AuthenticationError() | AuthorizationError():
            return "wrong user or password"
        case NoPermissionError():
            return "its user lacks a right"
        case OutOfMemoryError():
            return "no memory left"
        case RedisTimeoutError():
            return "timed out"
        case RedisConnectionError() if "number of clients" in str(error):
            return "too many clients"
    return None


def _of_network(error: OSError) -> str | None:
    match error:
        case TimeoutError():
            return "timed out"
        case socket.gaierror():
            return error.strerror
        case ssl.SSLCertVerificationError():
            return f"its certificate: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS: {(error.reason or 'failed').replace('_', ' ').lower()}"
    return None if error.errno is None else os.strerror(error.errno)
