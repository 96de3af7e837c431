"""Holds: which sources no worker drains for the moment, and why. All workers share them through Redis.

One hash keeps three kinds of fields: `held:` + source (a Hold), `proven:` + source (the release that last understood
most of what the source sent) and `waived:` + source (the release for which somebody said: drain it all the same).
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import redis
from redis.exceptions import OutOfMemoryError

from shared.inbox.keys import HOLDS, script

_NOTE = script("note")
_TRIAL = "callbox:trial:"  # + source: exists while another trial would be too early


class Hold(msgspec.Struct, frozen=True):
    """Why a source is held, and since when (seconds of the Unix epoch)."""

    why: str
    since: float


class Board(NamedTuple):
    """All that is known of holds at one moment."""

    held: Mapping[str, Hold]
    proven: Mapping[str, str]
    waived: Mapping[str, str]


class Holds:
    """Reads and writes the holds. Each method raises redis.RedisError when Redis is away."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._note = client.register_script(_NOTE)

    def read(self) -> Board:
        """All there is."""
        return read_holds(self._client.hgetall(HOLDS))  # type: ignore[arg-type]

    def hold(self, source: str, hold: Hold) -> bool:
        """Holds a source; False when it was held already."""
        return bool(self._note(keys=[HOLDS], args=["HSETNX", held_field(source), msgspec.json.encode(hold)]))

    def free(self, source: str) -> None:
        """Ends the hold of a source."""
        self._client.hdel(HOLDS, held_field(source))

    def prove(self, source: str, release: str) -> None:
        """Notes that this release understands the source."""
        self._note(keys=[HOLDS], args=["HSET", f"proven:{source}", release])

    def waive(self, source: str, release: str) -> None:
        """Has this release drain the source whatever becomes of it."""
        self._note(keys=[HOLDS], args=["HSET", f"waived:{source}", release])

    def may_try(self, source: str, seconds: int) -> bool:
        """Whether a trial of a held source is due; at most one in so many seconds, over all workers."""
        try:
            return bool(self._client.set(_TRIAL + source, b"", nx=True, ex=seconds))
        except OutOfMemoryError:  # nothing about a trial is urgent
            return False


def held_field(source: str) -> str:
    """The field of a source's hold."""
    return f"held:{source}"


def read_holds(fields: Mapping[bytes, bytes]) -> Board:
    """The board, out of the hash's fields."""
    held, proven, waived = {}, {}, {}
    for field, value in fields.items():
        kind, _, source = field.decode(errors="replace").partition(":")
        if kind == "held":
            held[source] = msgspec.json.decode(value, type=Hold)
        elif kind == "proven":
            proven[source] = value.decode()
        elif kind == "waived":
            waived[source] = value.decode()
    return Board(held, proven, waived)
