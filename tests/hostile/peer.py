"""One connection of an attacker: writes what it is given, and notes what comes back."""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Any

from tests.hostile.answers import Replies
from tests.hostile.got import Got

_BIND_ADDRESS_NO_PORT = 24  # ip(7): the port is chosen when it connects, so that it can be used for many servers
CONNECT_SECONDS = 10.0


class Closed(ConnectionError):
    """The server has closed the connection."""


class Peer(asyncio.Protocol):
    """A connection."""

    def __init__(self, got: Got) -> None:
        self._got = got
        self._replies = Replies()
        self._transport: Any = None
        self._changed = asyncio.Event()  # something was answered, or it ended
        self._writable = asyncio.Event()
        self._writable.set()
        self._left_by_us = False
        self.answers = 0
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for reply in self._replies.feed(data):
            self._got.note(reply)
            self.answers += reply.status >= 200
        self._changed.set()

    def eof_received(self) -> None:
        self._changed.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.ended = True
        if not self._left_by_us:
            self._got.count("reset" if isinstance(error, ConnectionResetError) else "closed")
        self._changed.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def send(self, data: bytes) -> None:
        """Writes, and waits while the server takes no more. Raises Closed. Waits without end when the attack has sent
        all that it may."""
        if not self._got.may_send(len(data)):
            await asyncio.Event().wait()
        if self.ended or self._transport.is_closing():
            raise Closed
        self._transport.write(data)
        await self._writable.wait()

    async def changed(self) -> None:
        """Returns when something came. Raises Closed when the connection has ended."""
        if self.ended:
            raise Closed
        self._changed.clear()
        await self._changed.wait()

    async def answered(self, count: int = 1) -> None:
        """Returns after `count` answers in all. Raises Closed when the connection ends before."""
        while self.answers < count:
            await self.changed()

    async def closed(self) -> None:
        """Returns when the server has closed the connection."""
        with suppress(Closed):
            while True:
                await self.changed()

    def half_close(self) -> None:
        self._transport.write_eof()

    def close(self) -> None:
        self._left_by_us = True
        self._transport.close()

    def reset(self) -> None:
        """Ends the connection with RST."""
        self._left_by_us = True
        connection = self._transport.get_extra_info("socket")
        if connection is not None:
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


async def connect(got: Got, port: int, address: str, reads: bool = True, receive_bytes: int = 0) -> Peer:
    """A connection from `address`, with a receive buffer of this size in bytes. Unless it `reads`, the server's answers
    stay in the sockets. Raises OSError."""
    loop = asyncio.get_running_loop()
    connection = socket.socket()
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
        if receive_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.bind((address, 0))
        async with asyncio.timeout(CONNECT_SECONDS):
            await loop.sock_connect(connection, ("127.0.0.1", port))
        transport, peer = await loop.create_connection(lambda: Peer(got), sock=connection)
        if not reads:
            transport.pause_reading()  # uvloop reads in spite of a pause in `connection_made`
    except BaseException:
        connection.close()
        raise
    return peer
