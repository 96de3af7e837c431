"""HTTP's answers: the refusals with their status and sentence, and an answer on the wire or through ASGI."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from json import dumps
from typing import NamedTuple

from starlette.types import Receive, Send

from shared.providers import Reply

Headers = tuple[tuple[bytes, bytes], ...]

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_WITHOUT_PHRASE = b"HTTP/1.1 %d \r\n"


class Refusal(Exception):
    """Ends a request with an error: its status, the word for the metric, and the sentence for the caller."""

    def __init__(self, status: HTTPStatus, outcome: str, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status = status
        self.outcome = outcome
        self.message = message
        self.headers = headers


class Gone(Exception):
    """The caller hung up before its body was complete: there is no one to answer."""


class Answer(NamedTuple):
    """What a caller gets; `content-length`, `date` and `connection` are added where it is written."""

    status: int
    headers: Headers
    body: bytes


def not_found() -> Refusal:
    return Refusal(HTTPStatus.NOT_FOUND, "not_found", "no such callback address")


def wrong_method(allowed: tuple[str, ...]) -> Refusal:
    allow = (b"allow", ", ".join(allowed).encode())
    return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "wrong_method", f"use {' or '.join(allowed)}", allow)


def not_proven() -> Refusal:
    return Refusal(HTTPStatus.UNAUTHORIZED, "rejected", "not proven")


def unavailable(retry_after_seconds: int) -> Refusal:
    wait = (b"retry-after", str(retry_after_seconds).encode())
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "temporarily unavailable, send it again", wait)


def too_large(limit_bytes: int) -> Refusal:
    message = f"the body may have up to {limit_bytes} bytes"
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", message)


def too_slow(message: str) -> Refusal:
    """A request that did not arrive whole in the time that there was; it may be sent again (RFC 9110, 15.5.9)."""
    return Refusal(HTTPStatus.REQUEST_TIMEOUT, "timeout", message)


def encoded() -> Refusal:
    message = "send the body without content encoding"
    return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "encoding", message)


def head_too_large(message: str) -> Refusal:
    return Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", message)


def bad_request(message: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "bad_request", message)


def in_words_of(reply: Reply | None, refusal: Refusal) -> Answer:
    """The provider's own error body, or one line of JSON where it has none."""
    if reply is not None and reply.error is not None:
        body, content_type = reply.error, reply.content_type
    else:
        body, content_type = dumps({"error": refusal.message}).encode() + b"\n", "application/json"
    headers: Headers = refusal.headers
    if content_type:
        headers += ((b"content-type", content_type.encode()),)
    return Answer(refusal.status, headers, body)


def check_head(headers: Mapping[str, str], limit_bytes: int) -> None:
    """Refuses a body that would not do before it is read. Raises Refusal (415, 413)."""
    if headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
        raise encoded()
    if announced_bytes(headers) > limit_bytes:
        raise too_large(limit_bytes)


def announced_bytes(headers: Mapping[str, str]) -> int:
    """What `content-length` announces; 0 without one."""
    announced = headers.get("content-length", "")
    return int(announced[:20]) if announced.isascii() and announced.isdecimal() else 0


def on_the_wire(answer: Answer, date: bytes, close: bool, is_head: bool) -> bytes:
    """The answer as HTTP/1.1, in one piece; `date` is the value of that header (RFC 9110, 6.6.1)."""
    parts = [_STATUS_LINES.get(answer.status) or _WITHOUT_PHRASE % answer.status, b"date: ", date, b"\r\n"]
    for name, value in answer.headers:
        parts += (name, b": ", value, b"\r\n")
    if close:
        parts.append(b"connection: close\r\n")
    parts.append(b"content-length: %d\r\n\r\n" % len(answer.body))
    if not is_head:
        parts.append(answer.body)
    return b"".join(parts)


async def read_body(receive: Receive, headers: Mapping[str, str], limit_bytes: int, deadline_seconds: float) -> bytes:
    """The whole body, through ASGI. Raises Refusal (413, 408, 400) or Gone."""
    body = bytearray()
    try:
        async with asyncio.timeout(deadline_seconds):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                body += message.get("body", b"")
                if len(body) > limit_bytes:
                    raise too_large(limit_bytes)
                more = message.get("more_body", False)
    except TimeoutError:
        raise too_slow(f"the body took over {deadline_seconds:g} s") from None
    is_unknown = "upgrade" in headers and "transfer-encoding" in headers
    if is_unknown or (headers.get("content-length", "").isdecimal() and announced_bytes(headers) != len(body)):
        # A server may lose a body, as uvicorn's own protocol does behind `Upgrade`: it must not be acknowledged.
        raise Refusal(HTTPStatus.BAD_REQUEST, "incomplete", "the body did not arrive whole; send no Upgrade")
    return bytes(body)


async def send_answer(send: Send, answer: Answer, close: bool) -> None:
    """The answer through ASGI; `close` after one that was given before the whole body was read."""
    headers = [(b"content-length", str(len(answer.body)).encode()), *answer.headers]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
