"""Cuts connections that lead to a server which is no longer the primary.

A primary that was demoted, cut off or moved to another address may keep its connections open, and answer, or never send
anything again. So a thread of each process asks where the primary is, and ends what leads elsewhere. Where the place
cannot change (one server, named by its address) there is no thread.
"""

import os
import weakref
from contextlib import suppress
from threading import Lock, Thread
from time import sleep
from typing import NamedTuple, Protocol

from redis.exceptions import RedisError

from shared.inbox.locator import Locator, Place

LOOK_SECONDS = 1.0


class Followed(Protocol):
    """A connection. `place` is where it was sent; `address` its other end, once it is connected."""

    place: Place
    address: str | None

    def cut(self) -> None:
        """Ends it, from any thread."""


class _Thread(NamedTuple):
    process: int
    thread: Thread


class Watch:
    """For all connections of one process to one shard."""

    def __init__(self, locator: Locator) -> None:
        self.locator = locator
        self._followed: set[weakref.ref[Followed]] = set()
        self._looking: _Thread | None = None

    def follow(self, connection: Followed) -> None:
        """Cuts this connection once it leads elsewhere."""
        if not self.locator.can_move:
            return
        if self._looking is not None and self._looking.process != os.getpid():
            self._followed, self._looking = set(), None  # a copy of the parent's, whose connections are its own
        self._followed.add(weakref.ref(connection, self._followed.discard))
        if self._looking is None:
            self._looking = _Thread(os.getpid(), Thread(target=self._run, name="watch", daemon=True))
            self._looking.thread.start()

    def look(self) -> None:
        """Cuts what leads elsewhere now."""
        with suppress(RedisError, OSError, RuntimeError):  # the last of a set that changed just now
            place = self.locator.locate()
            addresses = self.locator.addresses(place)
            for reference in tuple(self._followed):
                connection = reference()
                if connection is not None and _leads_elsewhere(connection, place, addresses):
                    self._followed.discard(reference)
                    connection.cut()

    def _run(self) -> None:
        while True:
            sleep(LOOK_SECONDS)
            if self._followed:
                with _no_fork:
                    self.look()


def _leads_elsewhere(connection: Followed, place: Place, addresses: set[str]) -> bool:
    if connection.place != place:
        return True
    return bool(addresses) and connection.address is not None and connection.address not in addresses


# A process must not be copied while a thread holds what the copy would wait for.
_no_fork = Lock()
os.register_at_fork(before=_no_fork.acquire, after_in_parent=_no_fork.release, after_in_child=_no_fork.release)
