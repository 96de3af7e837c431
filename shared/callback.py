"""A callback: what a provider sent, verified and untouched, from the HTTP request to its row in `callbacks`.

Here is also its packed form, as it lies in the inbox. The packed form carries a version; a worker reads every
version that an ingress of the release before may have written.
"""

import os
from collections.abc import Container
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote_plus
from uuid import UUID

import msgspec

from shared.errors import Malformed

FORMAT = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MICROSECOND = timedelta(microseconds=1)

# What any parser may want to see again. A provider adds the headers its own `parse` needs; no other header is
# ever stored, so that a credential cannot slip in.
COMMON_HEADERS = frozenset({"content-type", "user-agent"})


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request of a provider. Header names are lower case; `path` and `query` are as they were sent, still
    percent-encoded."""

    method: str
    path: str = ""
    query: str = ""
    headers: dict[str, str] = {}
    body: bytes = b""


class Callback(Request, frozen=True, kw_only=True):
    """A request that belongs to a source. `id` (UUIDv7) and `received_at` are fixed at the ingress."""

    id: UUID
    source: str
    provider: str
    received_at: datetime
    remote_ip: str | None = None

    @classmethod
    def arrived(cls, *, target: str, **keys: Any) -> "Callback":
        path, _, query = target.partition("?")
        return cls(path=path, query=query, **keys)

    def kept(self, headers: Container[str]) -> "Callback":
        """This callback as it may be stored: of its headers only the common and the given ones, no path and no
        `token` parameter (either may hold the source's token), no NUL, which PostgreSQL's text cannot take."""
        kept = {name: it for name, it in self.headers.items() if name in COMMON_HEADERS or name in headers}
        return msgspec.structs.replace(
            self,
            path="",
            query=_without_token(self.query).replace("\0", ""),
            headers={name: value.replace("\0", "") for name, value in kept.items()},
        )


def new_id(now: datetime, random: bytes | None = None) -> UUID:
    """A UUIDv7 (RFC 9562, 5.7): 48 bits of Unix milliseconds, then 74 random bits, so that ids sort by time."""
    tail = int.from_bytes(random if random is not None else os.urandom(10))
    milliseconds = (now - _EPOCH) // _MILLISECOND
    return UUID(int=milliseconds << 80 | 7 << 76 | (tail >> 66 & 0xFFF) << 64 | 0b10 << 62 | tail & (1 << 62) - 1)


def time_of(id: UUID) -> datetime:
    """The millisecond in which `new_id` made this id: the ingress took `received_at` from the same clock."""
    return _EPOCH + timedelta(milliseconds=id.int >> 80)


def token_in(query: str) -> str | None:
    """The value of the first `token` parameter of a raw query string, decoded; None without one."""
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name == "token":
            return unquote_plus(value)
    return None


def _without_token(query: str) -> str:
    if "token" not in query:
        return query
    return "&".join(part for part in query.split("&") if part.partition("=")[0] != "token")


def pack(callback: Callback) -> bytes:
    """The callback as it lies in the inbox: one msgpack array that begins with the format's version."""
    return msgspec.msgpack.encode(
        (
            FORMAT,
            callback.id.bytes,
            callback.source,
            callback.provider,
            (callback.received_at - _EPOCH) // _MICROSECOND,
            callback.method,
            callback.query,
            callback.headers,
            callback.body,
            callback.remote_ip,
        )
    )


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    format: int
    id: bytes
    source: str
    provider: str
    received_us: int
    method: str
    query: str
    headers: dict[str, str]
    body: bytes
    remote_ip: str | None


_NOT_READABLE = (msgspec.MsgspecError, ValueError, OverflowError, IndexError, RecursionError)
_decode_any = msgspec.msgpack.Decoder(list[Any]).decode
_decode_packed = msgspec.msgpack.Decoder(_Packed).decode


def unpack(packed: bytes) -> Callback:
    """The callback that `pack` wrote. Raises Malformed for bytes of no known format."""
    try:
        it = _decode_packed(packed)
        if it.format == FORMAT:
            return Callback(
                id=UUID(bytes=it.id),
                source=it.source,
                provider=it.provider,
                received_at=_EPOCH + it.received_us * _MICROSECOND,
                method=it.method,
                query=it.query,
                headers=it.headers,
                body=it.body,
                remote_ip=it.remote_ip,
            )
    except _NOT_READABLE:
        pass
    raise Malformed("unreadable inbox entry", _what_is_wrong(packed))


def _what_is_wrong(packed: bytes) -> str:
    try:
        version = _decode_any(packed)[0]
    except _NOT_READABLE:
        return f"{len(packed)} bytes that are no packed callback"
    return f"format {version!r:.20}; this release reads format {FORMAT}"
