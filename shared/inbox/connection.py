"""Connections of redis-py that go to the primary, wherever it is now, and end when it is somewhere else.

A server that answers that it takes no writes, or that another one has the shard, is left: the next command connects
anew, and to whoever is the primary then.
"""

import asyncio
import socket
from contextlib import suppress
from typing import Any

import redis
import redis.asyncio.connection as aio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.inbox.locator import Place
from shared.inbox.watch import Watch

# What only another server can do, or this one at another time.
_LEAVE = frozenset(
    (
        *("READONLY", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "UNBLOCKED"),
        *("CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN"),
    )
)
CONNECT_SECONDS = 2.0  # of a new connection, unless its user sets another limit


class NotPrimary(RedisConnectionError):
    """The server does not do what a primary does now. Its text is the code that the server gave."""


class _ToPrimary:
    """For redis-py's blocking connections: TCP, TLS and sockets of Unix."""

    _sock: Any

    def __init__(self, *, watch: Watch, **options: Any) -> None:
        self._watch = watch
        self.place = Place("", 0)
        self.address: str | None = None
        super().__init__(**options)

    def _connect(self) -> socket.socket:
        _go_to(self, self._watch.locator.locate())
        connected: socket.socket = super()._connect()  # type: ignore[misc]
        self.address = _peer(connected)
        self._watch.follow(self)
        return connected

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except RedisError as error:
            code = _code(error)
            if code is None:
                raise
            self.disconnect()  # type: ignore[attr-defined]
            raise NotPrimary(code) from error

    def cut(self) -> None:
        """Has whoever waits for an answer find the connection closed."""
        connected = self._sock
        if connected is not None:
            with suppress(OSError):
                # Not that of an SSLSocket, which first forgets its TLS: who writes at that moment would write plainly.
                socket.socket.shutdown(connected, socket.SHUT_RDWR)


class Connection(_ToPrimary, redis.Connection):
    """Over TCP."""


class TLSConnection(_ToPrimary, redis.SSLConnection):
    """Over TLS."""


class SocketConnection(_ToPrimary, redis.UnixDomainSocketConnection):
    """To a socket of Unix."""


class _AsyncToPrimary:
    """For redis-py's connections of asyncio. Connecting, the greeting included, has `socket_connect_timeout` in all."""

    _writer: Any
    socket_connect_timeout: float | None
    is_connected: bool

    def __init__(self, *, watch: Watch, **options: Any) -> None:
        self._watch = watch
        self.place = Place("", 0)
        self.address: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._limit: asyncio.Timeout | None = None  # of connecting
        super().__init__(**options)

    async def connect_check_health(self, *args: Any, **options: Any) -> None:
        if self.is_connected:
            return
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.socket_connect_timeout) as self._limit:
                await super().connect_check_health(*args, **options)  # type: ignore[misc]
        except TimeoutError:
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise RedisTimeoutError("not connected in time") from None
        finally:
            self._limit = None

    async def _connect(self) -> None:
        locator = self._watch.locator
        _go_to(self, await asyncio.to_thread(locator.locate) if locator.can_move else locator.locate())
        self.address = None
        self._watch.follow(self)
        await self._open()

    async def _open(self) -> None:
        await super()._connect()  # type: ignore[misc]

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)  # type: ignore[misc]
        except RedisError as error:
            code = _code(error)
            if code is None:
                raise
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise NotPrimary(code) from error

    def cut(self) -> None:
        """Has whoever waits for an answer, or for the connection, find it closed."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if self._limit is not None:
            with suppress(RuntimeError):  # its time was up just now
                self._limit.reschedule(asyncio.get_running_loop().time())
        elif self._writer is not None:
            self._writer.transport.abort()


class _AsyncByAddress(_AsyncToPrimary):
    """Tries each address of a name in turn: one that no server answers at must not take all the time."""

    host: str
    port: int

    async def _open(self) -> None:
        found = await asyncio.get_running_loop().getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        seconds = (self.socket_connect_timeout or CONNECT_SECONDS) / (len(addresses) + 1)
        for number, address in enumerate(addresses, 1):
            self.address = address
            try:
                async with asyncio.timeout(seconds):
                    await super()._open()
            except OSError:  # also a TimeoutError
                if number == len(addresses):
                    raise
            else:
                return

    def _connection_arguments(self) -> dict[str, Any]:
        given: dict[str, Any] = super()._connection_arguments()  # type: ignore[misc]
        if "ssl" in given:
            given.setdefault("server_hostname", self.host)
        return {**given, "host": self.address}


class AsyncConnection(_AsyncByAddress, aio.Connection):
    """Over TCP."""


class AsyncTLSConnection(_AsyncByAddress, aio.SSLConnection):
    """Over TLS."""


class AsyncSocketConnection(_AsyncToPrimary, aio.UnixDomainSocketConnection):
    """To a socket of Unix."""


def _go_to(connection: Any, place: Place) -> None:
    connection.place = place
    if place.port:
        connection.host, connection.port = place
    else:
        connection.path = place.host


def _peer(connected: socket.socket) -> str | None:
    name = connected.getpeername()
    return str(name[0]) if isinstance(name, tuple) else None


def _code(error: RedisError) -> str | None:
    """The code of an error for which the server is left."""
    code = getattr(error, "status_code", None) or str(error).partition(" ")[0]
    return code if code in _LEAVE else None
