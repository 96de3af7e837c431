"""What the connections of one listener share: how many there may be, how much they may hold, and until when.

A client has proven nothing until its request is there in whole and verified. Until then all that it holds is bounded
here, for each connection and for all of them. One timer looks at all deadlines, so that a connection sets none.
"""

import asyncio
import ctypes
import resource
import time
from collections import Counter
from contextlib import suppress
from email.utils import formatdate
from typing import NamedTuple, Protocol

from ingress.address import Proxies, network_of, read_address
from ingress.metrics import CONNECTIONS, CONNECTIONS_ENDED, CONNECTIONS_REFUSED
from shared import logs
from shared.settings import Settings

TICK_SECONDS = 1.0  # between two looks at the deadlines, at most
TICKS = 8  # within the shortest deadline, at least
TRIM_BYTES = 4 * 1024 * 1024  # held at once: from there on it is worth the time to give memory back
OWN_DESCRIPTORS = 40  # Redis, the spool, metrics, listeners and what the interpreter opens

log = logs.get(__name__)


class Limits(NamedTuple):
    """Of the connections of one listener; seconds, bytes and counts."""

    head_bytes: int
    headers: int
    body_bytes: int  # of a request that is no callback
    head_seconds: float
    body_seconds: float
    answer_seconds: float
    idle_seconds: float
    connections: int
    connections_per_address: int
    unproven_bytes: int
    stop_seconds: float
    retry_after_seconds: int

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        return cls(
            settings.head_limit_bytes,
            settings.header_limit,
            settings.body_limit_bytes,
            settings.head_seconds,
            settings.body_seconds,
            settings.answer_seconds,
            settings.idle_seconds,
            min(settings.connection_limit, _descriptors_left()),
            settings.address_connection_limit,
            settings.unproven_bytes,
            settings.stop_seconds,
            settings.retry_after_seconds,
        )


class Connection(Protocol):
    """What the gate asks of a connection."""

    deadline: float  # of the loop's clock
    unread_since: float  # when its answer began to wait for the caller to read it; 0.0 while none waits
    held_bytes: int

    def unread_bytes(self) -> int: ...
    def expire(self) -> None: ...
    def evict(self) -> None: ...
    def end(self, why: str) -> None: ...


class Gate:
    """One for each listener of a process."""

    def __init__(self, limits: Limits, proxies: Proxies) -> None:
        self.limits = limits
        self._proxies = proxies
        self._connections: set[Connection] = set()
        self._addresses: Counter[str] = Counter()
        self._unfinished: dict[Connection, None] = {}  # whose request is not there in whole, the oldest first
        self._held_bytes = 0
        self._peak_bytes = 0
        self._log = logs.Limited(log)
        self._is_ticking = False
        self._stops_at = float("inf")
        self._date = (0, b"")

    def admit(self, connection: Connection, peer: str | None) -> bool:
        """Whether one more may stay; it is counted then, until it leaves."""
        address = self._counted_as(peer)
        if len(self._connections) >= self.limits.connections:
            self._refuse("all", peer, f"{self.limits.connections} are open (CALLBOX_CONNECTION_LIMIT, or descriptors)")
            return False
        if address is not None and self._addresses[address] >= self.limits.connections_per_address:
            many = f"{self.limits.connections_per_address} are open from there (CALLBOX_ADDRESS_CONNECTION_LIMIT)"
            self._refuse("address", peer, f"{many}; name a proxy in CALLBOX_TRUSTED_PROXIES")
            return False
        self._connections.add(connection)
        if address is not None:
            self._addresses[address] += 1
        CONNECTIONS.inc()
        if not self._is_ticking:
            self._is_ticking = True
            self._tick_soon()
        return True

    def leave(self, connection: Connection, peer: str | None) -> None:
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        CONNECTIONS.dec()
        address = self._counted_as(peer)
        if address is not None:
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]
        self.hold(connection, 0)

    def hold(self, connection: Connection, size: int) -> None:
        """Notes how many bytes of a request that is not there in whole a connection holds. Where all hold too much, the
        oldest of these requests ends: an honest one arrives at once, and is hardly ever among them."""
        self._held_bytes += size - connection.held_bytes
        connection.held_bytes = size
        self._peak_bytes = max(self._peak_bytes, self._held_bytes)
        if not size:
            self._unfinished.pop(connection, None)
            return
        self._unfinished.setdefault(connection)
        while self._held_bytes > self.limits.unproven_bytes and self._unfinished:
            oldest = next(iter(self._unfinished))
            self.hold(oldest, 0)
            self.ended("memory")
            oldest.evict()

    def ended(self, why: str) -> None:
        """Counts a connection that was ended by us."""
        CONNECTIONS_ENDED.labels(why).inc()

    def stop(self) -> None:
        """From the first call on, everything has ended within the limit."""
        self._stops_at = min(self._stops_at, asyncio.get_running_loop().time() + self.limits.stop_seconds)

    def date(self) -> bytes:
        """This second, as the header `date` has it."""
        now = int(time.time())
        if self._date[0] != now:
            self._date = now, formatdate(now, usegmt=True).encode()
        return self._date[1]

    def _tick(self) -> None:
        now = asyncio.get_running_loop().time()
        unread = sum(self._look_at(connection, now) for connection in list(self._connections))
        if unread > self.limits.unproven_bytes:
            self._end_unread()
        self._give_back_memory()
        if self._connections:
            self._tick_soon()
        else:
            self._is_ticking = False

    def _give_back_memory(self) -> None:
        """After much was held, and is no more: the C library keeps what was freed between smaller things."""
        if self._peak_bytes > TRIM_BYTES and self._held_bytes < self._peak_bytes // 4:
            self._peak_bytes = 0
            with suppress(AttributeError):  # only glibc has it
                ctypes.CDLL(None).malloc_trim(0)

    def _tick_soon(self) -> None:
        limits = self.limits
        shortest = min(limits.head_seconds, limits.body_seconds, limits.answer_seconds, limits.idle_seconds)
        asyncio.get_running_loop().call_later(min(TICK_SECONDS, shortest / TICKS), self._tick)

    def _look_at(self, connection: Connection, now: float) -> int:
        """Ends it where its time is up; how many bytes of answers it has not read."""
        if now >= self._stops_at:
            connection.end("stop")
            return 0
        unread = connection.unread_bytes()
        if not unread:
            connection.unread_since = 0.0
        elif not connection.unread_since:
            connection.unread_since = now
        elif now - connection.unread_since >= self.limits.answer_seconds:
            connection.end("answer")
            return 0
        if now >= connection.deadline:
            connection.expire()
        return unread

    def _end_unread(self) -> None:
        """Ends the connections with the most unread bytes until the others hold half of what all may."""
        by_size = sorted(self._connections, key=lambda connection: connection.unread_bytes())
        left = sum(connection.unread_bytes() for connection in by_size)
        while by_size and left > self.limits.unproven_bytes // 2:
            left -= by_size[-1].unread_bytes()
            by_size.pop().end("memory")

    def _refuse(self, limit: str, peer: str | None, why: str) -> None:
        CONNECTIONS_REFUSED.labels(limit).inc()
        self._log.warning("connection refused", {"limit": limit}, address=read_address(peer), why=why)

    def _counted_as(self, peer: str | None) -> str | None:
        """Whose connection it is: an address, a network of IPv6 that one caller has to itself, or no one."""
        address = read_address(peer)
        if address is None or self._proxies.trusts(address):
            return None
        return network_of(address)


def raise_descriptor_limit(wanted: int) -> None:
    """Lets this process open up to `wanted` descriptors, or as many as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _descriptors_left() -> int:
    """How many connections leave enough descriptors for the ingress itself."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1 << 20
    return max(1, soft - max(OWN_DESCRIPTORS, soft // 8))
