"""A refused request: it reached a source and failed its proof. It is kept as it came, so that it may be proven later.

Beside the callback that it would be it has every header that proves it, which no callback has; no token of a URL.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from shared.callback import Arrival, Callback, hide_token, pack, show_token, unpack
from shared.errors import Malformed
from shared.source import Source

# Beside what the provider reads: where the request was sent to, as a proxy passes it on.
PLACE_HEADERS = frozenset({"host", "x-forwarded-host", "x-forwarded-proto"})


class _Head(msgspec.Struct, frozen=True):
    """What is kept beside the callback, see Refused."""

    reason: str
    target: str
    peer: str | None
    has_token: bool


class Refused(NamedTuple):
    """A request that failed its proof, and why. `target` has no tokens; `peer` is the address of who was connected;
    `has_token` is whether it carried the token that its source had then."""

    callback: Callback
    reason: str
    target: str
    peer: str | None
    has_token: bool

    @classmethod
    def of(cls, arrival: Arrival, reason: str, source: Source, peer: str | None, place: Mapping[str, str]) -> "Refused":
        """What is kept of an arrival; `place` has those of its headers that are in PLACE_HEADERS. Without the token of
        a source that has one it would be none: that is a 404."""
        callback = arrival.kept(arrival.headers)
        callback = msgspec.structs.replace(callback, headers={**place, **callback.headers})
        return cls(callback, reason, hide_token(arrival.target, source.token), peer, source.token is not None)

    @property
    def path(self) -> str:
        """Where it was sent, without a query, which may have a phone number."""
        return self.target.partition("?")[0]

    def arrival(self, source: Source, remote_ip: str | None) -> Arrival:
        """The request as it arrived, at the source as it is now, from this address."""
        callback = self.callback
        return Arrival.of(
            id=callback.id,
            source=source.name,
            provider=source.provider,
            received_at=callback.received_at,
            method=callback.method,
            target=show_token(self.target, source.token) if source.token else self.target,
            headers=callback.headers,
            body=callback.body,
            remote_ip=remote_ip,
        )

    def packed(self) -> bytes:
        """As it lies in the quarantine: a line of JSON, then the callback."""
        head = _Head(self.reason, self.target, self.peer, self.has_token)
        return msgspec.json.encode(head) + b"\n" + pack(self.callback)

    @classmethod
    def unpacked(cls, packed: bytes) -> "Refused":
        """What `packed` wrote. Raises Malformed for bytes of another release."""
        line, _, rest = packed.partition(b"\n")
        try:
            head = msgspec.json.decode(line, type=_Head)
        except msgspec.MsgspecError:
            raise Malformed("unreadable refused request") from None
        return cls(unpack(rest), head.reason, head.target, head.peer, head.has_token)
