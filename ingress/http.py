"""The little of HTTP that the endpoint needs on raw ASGI: reading a body within limits, answering, refusing."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from json import dumps

from starlette.types import Receive, Scope, Send

from shared.providers import Reply

_CLOSE = (b"connection", b"close")  # after an answer given before the whole body was read


class Refusal(Exception):
    """Ends a request with an error: its status, the word for the metric, and the sentence for the caller."""

    def __init__(self, status: HTTPStatus, outcome: str, say: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(say)
        self.status = status
        self.outcome = outcome
        self.say = say
        self.headers = headers


class Gone(Exception):
    """The caller hung up before its body was complete: there is nobody to answer."""


class _Deadline:
    """Cancels the task that made it after so many seconds: asyncio.timeout at half its price, for every request."""

    def __init__(self, seconds: float) -> None:
        self._task = asyncio.current_task()
        self._expired = False
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def is_over(self) -> bool:
        """Whether this, and nobody else, cancelled the task: then it may go on."""
        return self._expired and self._task is not None and not self._task.uncancel()

    def cancel(self) -> None:
        self._timer.cancel()

    def _expire(self) -> None:
        self._expired = True
        if self._task is not None:
            self._task.cancel()


def not_found() -> Refusal:
    return Refusal(HTTPStatus.NOT_FOUND, "not_found", "no such callback address")


def wrong_method(allowed: tuple[str, ...]) -> Refusal:
    allow = (b"allow", ", ".join(allowed).encode())
    return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "wrong_method", f"use {' or '.join(allowed)}", allow)


def not_proven() -> Refusal:
    return Refusal(HTTPStatus.UNAUTHORIZED, "rejected", "not proven")


def unavailable(retry_after_seconds: int) -> Refusal:
    wait = (b"retry-after", str(retry_after_seconds).encode())
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "cannot keep it now, send it again", wait)


def headers_of(scope: Scope) -> dict[str, str]:
    """The headers with lower-case names; one that is repeated is joined, so that two signatures make a wrong one."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def read_body(receive: Receive, headers: Mapping[str, str], limit_bytes: int, deadline_seconds: float) -> bytes:
    """The whole body. Raises Refusal (413, 415, 408, 400) or Gone.

    uvicorn itself sets no deadline for a body and never decompresses one.
    """
    if headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
        status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        raise Refusal(status, "encoding", "send the body without content encoding", _CLOSE)
    announced = headers.get("content-length", "")
    announced_too_much = announced.isdecimal() and int(announced[:20]) > limit_bytes
    body = bytearray()
    deadline = _Deadline(deadline_seconds)
    try:
        while len(body) <= limit_bytes and not announced_too_much:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            body += message.get("body", b"")
            if not message.get("more_body", False) and len(body) <= limit_bytes:
                _check_whole(headers, len(body))
                return bytes(body)
    except asyncio.CancelledError:
        if not deadline.is_over():
            raise
        status = HTTPStatus.REQUEST_TIMEOUT
        raise Refusal(status, "timeout", f"the body took over {deadline_seconds:g} s", _CLOSE) from None
    finally:
        deadline.cancel()
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    raise Refusal(status, "too_large", f"the body may have up to {limit_bytes} bytes", _CLOSE)


def _check_whole(headers: Mapping[str, str], length: int) -> None:
    """Refuses a body that a server lost, as uvicorn's does behind `Upgrade`: an empty one must not be acknowledged."""
    announced = headers.get("content-length", "")
    unknown = "upgrade" in headers and "transfer-encoding" in headers
    if unknown or (announced.isdecimal() and int(announced[:20]) != length):
        raise Refusal(HTTPStatus.BAD_REQUEST, "incomplete", "the body did not arrive whole; send no Upgrade", _CLOSE)


async def answer(send: Send, status: int, body: bytes, content_type: str | None, *extra: tuple[bytes, bytes]) -> None:
    headers = [(b"content-length", str(len(body)).encode()), *extra]
    if content_type:
        headers.append((b"content-type", content_type.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def acknowledge(send: Send, reply: Reply, callback_id: str) -> None:
    """Answers in the provider's words, and says under which id the callback is kept."""
    await answer(send, reply.status, reply.body, reply.content_type, (b"x-callbox-id", callback_id.encode()))


async def refuse(send: Send, refusal: Refusal, reply: Reply | None) -> None:
    """Answers with the provider's own error body, or one line of JSON where it has none."""
    if reply is not None and reply.error is not None:
        await answer(send, refusal.status, reply.error, reply.content_type, *refusal.headers)
    else:
        body = dumps({"error": refusal.say}).encode() + b"\n"
        await answer(send, refusal.status, body, "application/json", *refusal.headers)
