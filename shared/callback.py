"""A callback: what a provider sent, untouched, from the HTTP request to its row in `callbacks`.

`verify` gets an `Arrival`; a `Callback` is what is kept of it, and `parse` gets that. Here is also its packed form, as
it lies in the inbox. The packed form carries a version; a worker reads every version that an ingress of the release
before may have written.
"""

import os
import re
from collections.abc import Container
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote, unquote_plus
from uuid import UUID

import msgspec

from shared.errors import Malformed

FORMAT = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MICROSECOND = timedelta(microseconds=1)

# What any parser may want to see again. A provider adds the headers its own `parse` needs; no other header is
# ever stored, so that a credential cannot slip in.
TEST_HEADER = "x-callbox-test"  # whoever proves a callback may mark it as a test: `callbox send` does
COMMON_HEADERS = frozenset({"content-type", "user-agent", TEST_HEADER})

TOKEN_LIMIT_CHARS = 1024  # of a token in a query, as it is spelled there
TOKENS_LIMIT = 1000  # `token` parameters of one query
_TOKEN = re.compile(r"&token(?:=([^&]*))?(?=&|\Z)")  # of a query with an `&` before it
_HIDDEN = "…"  # in the place of a token: no target has it, for its characters are bytes


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request as the provider's side makes it. Header names are lower case; `path` and `query` are as they
    are sent, percent-encoded."""

    method: str
    path: str = ""
    query: str = ""
    headers: dict[str, str] = {}
    body: bytes = b""

    @property
    def target(self) -> str:
        """Path and query as in the request line."""
        return f"{self.path}?{self.query}" if self.query else self.path

    def with_headers(self, headers: dict[str, str]) -> "Request":
        """This request with these headers too."""
        return msgspec.structs.replace(self, headers={**self.headers, **headers})


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """A callback as it is kept and parsed. `id` (UUIDv7) and `received_at` are fixed at the ingress. `traceparent` is
    the trace context of its request (W3C Trace Context), empty without traces; no row has it."""

    id: UUID
    source: str
    provider: str
    received_at: datetime
    method: str
    query: str = ""
    headers: dict[str, str] = {}
    body: bytes = b""
    remote_ip: str | None = None
    traceparent: str = ""


class Arrival(Callback, frozen=True, kw_only=True):
    """A callback as it arrives and is verified: with every header, and in `target` path and query as requested.

    What is proven is what is stored: its method, query and body are those of the callback that is kept, and so are the
    values of the headers that are kept.
    """

    target: str

    @classmethod
    def of(
        cls,
        *,
        id: UUID,
        source: str,
        provider: str,
        received_at: datetime,
        method: str,
        target: str,
        headers: dict[str, str],
        body: bytes,
        remote_ip: str | None,
    ) -> "Arrival":
        """What arrives with a request for `target`, with lower-case names of headers.

        Its query has no `token` parameter, which may be the source's token; neither query nor headers have a NUL,
        which PostgreSQL's text cannot take.
        """
        return cls(
            id=id,
            source=source,
            provider=provider,
            received_at=received_at,
            method=method,
            query=_without_token(target.partition("?")[2].replace("\0", "")),
            headers=_without_nul(headers),
            body=body,
            remote_ip=remote_ip,
            target=target,
        )

    def kept(self, headers: Container[str]) -> Callback:
        """The callback to be stored: without the target, and with the common and the given headers only."""
        return Callback(
            id=self.id,
            source=self.source,
            provider=self.provider,
            received_at=self.received_at,
            method=self.method,
            query=self.query,
            headers={name: value for name, value in self.headers.items() if name in COMMON_HEADERS or name in headers},
            body=self.body,
            remote_ip=self.remote_ip,
        )


def _without_nul(headers: dict[str, str]) -> dict[str, str]:
    if "\0" not in "".join(headers.values()):
        return headers
    return {name: value.replace("\0", "") for name, value in headers.items()}


def new_id(now: datetime, random: bytes | None = None) -> UUID:
    """A UUIDv7 (RFC 9562, 5.7): 48 bits of Unix milliseconds, then 74 random bits, so that ids sort by time."""
    tail = int.from_bytes(random if random is not None else os.urandom(10))
    milliseconds = (now - _EPOCH) // _MILLISECOND
    return UUID(int=milliseconds << 80 | 7 << 76 | (tail >> 66 & 0xFFF) << 64 | 0b10 << 62 | tail & (1 << 62) - 1)


def time_of(id: UUID) -> datetime:
    """The millisecond in which `new_id` made this id: the ingress took `received_at` from the same clock."""
    return _EPOCH + timedelta(milliseconds=id.int >> 80)


def token_in(query: str) -> str | None:
    """The value of the first `token` parameter of a raw query string, decoded; None without one.

    A value of more than TOKEN_LIMIT_CHARS is returned as it is spelled.
    """
    found = _TOKEN.search("&" + query)
    if found is None:
        return None
    value = found[1] or ""
    return unquote_plus(value) if len(value) <= TOKEN_LIMIT_CHARS else value


def hide_token(target: str, token: str | None) -> str:
    """The target of a request without its tokens: the source's `token` where it ends the path, and each `token` in the
    query."""
    path, mark, query = target.partition("?")
    start, slash, end = path.rstrip("/").rpartition("/")
    if token is not None and unquote(end) == token:
        path = start + slash + _HIDDEN + path[len(start + slash + end) :]
    return path + mark + _TOKEN.sub(f"&token={_HIDDEN}", "&" + query)[1:]


def show_token(target: str, token: str) -> str:
    """The target as it was requested, had its tokens been this one: the opposite of `hide_token`."""
    return target.replace(_HIDDEN, token)


def _without_token(query: str) -> str:
    """The query without its `token` parameters; an empty one if they are TOKENS_LIMIT or more, as no provider's are."""
    if "token" not in query:
        return query
    others, tokens = _TOKEN.subn("", "&" + query, count=TOKENS_LIMIT)
    return others[1:] if tokens < TOKENS_LIMIT else ""


def pack(callback: Callback) -> bytes:
    """The callback as it lies in the inbox: one msgpack array that begins with the format's version. Only a callback
    with a trace context has one at its end, where a worker of a release without traces does not look."""
    packed = (
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
    return msgspec.msgpack.encode((*packed, callback.traceparent) if callback.traceparent else packed)


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
    traceparent: str = ""


_NOT_READABLE = (msgspec.MsgspecError, ValueError, OverflowError, IndexError, RecursionError)
_decode_any = msgspec.msgpack.Decoder(list[Any]).decode
_decode_packed = msgspec.msgpack.Decoder(_Packed).decode


def unpack(packed: bytes) -> Callback:
    """The callback that `pack` wrote. Raises Malformed for bytes of no known format."""
    try:
        fields = _decode_packed(packed)
        if fields.format == FORMAT:
            return Callback(
                id=UUID(bytes=fields.id),
                source=fields.source,
                provider=fields.provider,
                received_at=_EPOCH + fields.received_us * _MICROSECOND,
                method=fields.method,
                query=fields.query,
                headers=fields.headers,
                body=fields.body,
                remote_ip=fields.remote_ip,
                traceparent=fields.traceparent,
            )
    except _NOT_READABLE:
        pass
    raise Malformed("unreadable inbox entry", _what_is_wrong(packed))


def traceparent_in(packed: bytes) -> str:
    """The trace context that `pack` wrote; empty without one."""
    try:
        return _decode_packed(packed).traceparent
    except _NOT_READABLE:
        return ""


def _what_is_wrong(packed: bytes) -> str:
    try:
        version = _decode_any(packed)[0]
    except _NOT_READABLE:
        return f"{len(packed)} bytes that are no packed callback"
    return f"format {version!r:.20}; this release reads format {FORMAT}"
