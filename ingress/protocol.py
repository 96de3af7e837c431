"""HTTP/1.1 for an open port: `uvicorn ingress.app:app --http ingress.protocol:Bounded`.

One connection, one request at a time. A callback goes from the reader to its receiver, and from the disk to its answer,
without a task, a queue or a copy between; any other path is served through ASGI (`ingress/bridge.py`).

- A head, the framing of a body and a body have limits (`ingress/reader.py`); a head, a body, the reading of an answer
  and the pause between two requests have deadlines (`ingress/gate.py`).
- While a request is in work what comes early waits: of it one read, and the rest in the socket.
- What is refused before its body is there is answered at once, and its connection ends.
- `Upgrade` is ignored, as RFC 9110, 7.8 allows.
- A server that stops awaits a last request on an open connection for a moment, so that none that is on its way is lost.
"""

import asyncio
from typing import Any, Protocol, cast

import httptools
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.utils import get_remote_addr
from uvicorn.server import ServerState

from ingress import answers
from ingress.answers import Answer, Refusal
from ingress.bridge import Bridge
from ingress.gate import Gate
from ingress.reader import Reader, Sizes
from ingress.receive import Admitted, Place, Receiver, place_in

WORK_SECONDS = 60.0  # for an answer: longer than any commit takes, so that no failure of ours keeps a connection
LAST_SECONDS = 1.0  # for a last request, once the server stops
LINGER_SECONDS = 2.0  # for a caller to see an answer that came before it had sent everything
LINGER_BYTES = 4 * 1024 * 1024  # of what it may still send then
UNREAD_BYTES = 16 * 1024  # of answers, from which on the next request waits

IDLE, HEAD, BODY, WORK, CLOSING, LINGERING = range(6)
_WHY = {IDLE: "idle", HEAD: "head", BODY: "body", WORK: "answer", CLOSING: "answer", LINGERING: "body"}


class Served(Protocol):
    """What the application gives to its connections. Without a receiver there are no callback addresses."""

    gate: Gate
    receiver: Receiver | None
    others: ASGIApp


class Bounded(asyncio.Protocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        app: Any = config.loaded_app
        if isinstance(app, ProxyHeadersMiddleware):
            app = app.app  # the receiver knows whom to believe
        self._served = cast(Served, app)
        self._gate = self._served.gate
        self._limits = self._gate.limits
        self._root_path = config.root_path
        self._server_state = server_state
        self._loop = _loop or asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._peer: tuple[str, int] | None = None
        self._bridge = Bridge(self._served.others, self._root_path, app_state, server_state.tasks)
        self._reader = Reader(Sizes(self._limits.head_bytes, self._limits.headers, self._limits.body_bytes))

        self.deadline = 0.0
        self.unread_since = 0.0
        self.held_bytes = 0
        self._phase = IDLE
        self._buffer = b""  # what was read and not yet parsed, from `_at` on
        self._at = 0
        self._lingered_bytes = 0
        self._is_paused = False
        self._is_unwritable = False
        self._is_last = False
        self._has_ended = False  # the caller sends no more
        self._begin_request()

    def _begin_request(self) -> None:
        self._reader.begin()
        self._target = b""
        self._place: Place | None = None
        self._admitted: Admitted | None = None
        self._refused: Answer | None = None

    # What the transport reports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._peer = get_remote_addr(self._transport)
        self.deadline = self._loop.time() + self._limits.head_seconds
        if not self._gate.admit(self, self._peer and self._peer[0]):
            self._phase = CLOSING
            self._transport.close()
            return
        self._server_state.connections.add(self)  # type: ignore[arg-type]
        self._transport.set_write_buffer_limits(UNREAD_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server_state.connections.discard(self)
        if self._phase == BODY and self._place is not None and self._served.receiver is not None:
            self._served.receiver.gone(self._place.source)
        self._bridge.disconnect()
        self._gate.leave(self, self._peer and self._peer[0])
        self._phase = CLOSING
        self._reader.close()
        self._buffer = b""
        self._begin_request()

    def data_received(self, data: bytes) -> None:
        if self._phase == LINGERING:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > LINGER_BYTES:
                self.end("body")
            return
        if self._phase == CLOSING:
            return
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0
        if self._phase == WORK or self._is_unwritable:
            self._wait_with_the_rest()
            return
        if self._phase == IDLE:
            self._phase = HEAD
            self.deadline = self._loop.time() + self._limits.head_seconds
        self._read()

    def eof_received(self) -> bool:
        """Keeps the connection open for the answer to a request that is there in whole."""
        self._has_ended = True
        return self._phase == WORK and not self._transport.get_extra_info("sslcontext")

    def pause_writing(self) -> None:
        self._is_unwritable = True
        self._bridge.pause()

    def resume_writing(self) -> None:
        self._is_unwritable = False
        self._bridge.resume()
        self._go_on()

    # What the gate and the server ask

    def unread_bytes(self) -> int:
        return self._transport.get_write_buffer_size()

    def expire(self) -> None:
        """The time of this phase is up."""
        self._gate.ended(_WHY[self._phase])
        if self._phase == BODY:
            self._answer_early(self._refusal(answers.too_slow(f"the body took over {self._limits.body_seconds:g} s")))
        elif self._phase in (IDLE, HEAD):
            self._close()
        else:
            self._transport.abort()

    def evict(self) -> None:
        """Makes room for others. A request that is in work is still answered, and nothing that came behind it."""
        if self._phase == WORK:
            self._reader.keep_alive = False
            self._buffer, self._at = b"", 0
        else:
            self._answer_early(self._refusal(answers.too_slow("memory is short")))

    def end(self, why: str) -> None:
        """At once, whatever is still to be written."""
        self._gate.ended(why)
        self._transport.abort()

    def shutdown(self) -> None:
        """The server stops: called once for each connection."""
        self._is_last = True
        self._gate.stop()
        if self._phase == IDLE:
            self.deadline = self._loop.time() + LAST_SECONDS

    # One request

    def _read(self) -> None:
        """Reads what is there, up to the end of a request."""
        reader = self._reader
        try:
            while self._at < len(self._buffer) and not reader.is_whole:
                self._at = reader.read(self._buffer, self._at)
                if reader.has_head and self._phase == HEAD:
                    self._judge()
        except Refusal as refusal:
            self._answer_early(self._refused or self._refusal(refusal))
            return
        if self._at == len(self._buffer):
            self._buffer, self._at = b"", 0
        if reader.is_whole:
            self._finish()
        elif self._refused is not None:
            self._answer_early(self._refused)
        else:
            self._await_more()

    def _judge(self) -> None:
        """The head is there: finds who serves the request, or why it is refused."""
        self._phase = BODY
        self.deadline = self._loop.time() + self._limits.body_seconds
        try:
            self._admit()
        except Exception as error:
            self._refused = self._refusal(error)
            self._reader.is_refused = True

    def _admit(self) -> None:
        """Raises Refusal."""
        reader, receiver = self._reader, self._served.receiver
        self._target = _target_in(reader.url)
        target = self._root_path + self._target.decode("latin-1")
        self._place = place_in(target.partition("?")[0].removeprefix(self._root_path)) if receiver else None
        if self._place is not None and receiver is not None:
            peer = self._peer and self._peer[0]
            self._admitted = receiver.admit(self._place, reader.method, target, reader.headers, peer)
            reader.body_limit_bytes = self._admitted.body_limit_bytes
            return
        if receiver:
            receiver.missed(target, reader.headers, self._peer and self._peer[0])
        if reader.announced_bytes > reader.body_limit_bytes:
            raise answers.too_large(reader.body_limit_bytes)

    def _await_more(self) -> None:
        """The request is not there in whole: what it holds counts from here on."""
        if self._phase == BODY and self._reader.expects_continue and not self._reader.body_bytes:
            self._reader.expects_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._gate.hold(self, self._reader.held_bytes)

    def _finish(self) -> None:
        """The request is there in whole."""
        self._phase = WORK
        self.deadline = self._loop.time() + WORK_SECONDS
        if self.held_bytes:
            self._gate.hold(self, 0)
        if self._at < len(self._buffer):
            self._wait_with_the_rest()
        if self._refused is not None:
            self._answer(self._refused)
            return
        if self._admitted is None or self._served.receiver is None:
            self._reader.keep_alive = self._reader.keep_alive and not (self._is_last or self._reader.is_upgrade)
            self._bridge.serve(self._reader, self._target, self._transport, self._gate.date(), self._other_answered)
            return
        try:
            self._served.receiver.take(self._admitted, self._reader.body, self._answer)
        except Exception as error:
            self._answer(self._refusal(error))

    def _refusal(self, error: BaseException) -> Answer:
        if self._served.receiver is not None:
            return self._served.receiver.refuse(self._place.source if self._place else "", error)
        refusal = error if isinstance(error, Refusal) else answers.unavailable(self._limits.retry_after_seconds)
        return answers.in_words_of(None, refusal)

    def _wait_with_the_rest(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._gate.hold(self, len(self._buffer) - self._at)

    # Its answer

    def _answer(self, answer: Answer) -> None:
        """Answers a request that is there in whole."""
        if self._phase != WORK or self._transport.is_closing():
            return
        reader = self._reader
        close = not reader.keep_alive or self._is_last or self._has_ended or reader.is_upgrade
        self._transport.write(answers.on_the_wire(answer, self._gate.date(), close, reader.method == "HEAD"))
        self._after_answer(close)

    def _after_answer(self, close: bool) -> None:
        self._begin_request()
        if close:
            self._close()
            return
        self._phase = IDLE
        self.deadline = self._loop.time() + (LAST_SECONDS if self._is_last else self._limits.idle_seconds)
        if self._is_paused:
            self._loop.call_soon(self._go_on)  # a turn for the others

    def _go_on(self) -> None:
        """Reads the next request, of which something is here already or in the socket."""
        if self._phase not in (IDLE, HEAD, BODY) or self._is_unwritable or self._transport.is_closing():
            return
        if self._at < len(self._buffer):
            if self._phase == IDLE:
                self._phase = HEAD
                self.deadline = self._loop.time() + self._limits.head_seconds
            self._read()
        if self._is_paused and self._at == len(self._buffer) and self._phase in (IDLE, HEAD, BODY):
            self._is_paused = False
            self._transport.resume_reading()

    def _answer_early(self, answer: Answer) -> None:
        """Answers before the request is there in whole, and ends the connection.

        Slowly: were it closed while the caller still sends, the answer might not be read (RFC 9112, 9.6).
        """
        if self._transport.is_closing():
            return
        self._transport.write(answers.on_the_wire(answer, self._gate.date(), True, self._reader.method == "HEAD"))
        self._begin_request()
        self._forget_the_rest()
        self._phase = LINGERING
        self.deadline = self._loop.time() + LINGER_SECONDS
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
        if self._transport.can_write_eof() and not self._has_ended:
            self._transport.write_eof()
        else:
            self._close()

    def _close(self) -> None:
        self._phase = CLOSING
        self.deadline = self._loop.time() + self._limits.answer_seconds
        self._forget_the_rest()
        self._transport.close()

    def _forget_the_rest(self) -> None:
        self._buffer, self._at = b"", 0
        self._gate.hold(self, 0)

    def _other_answered(self) -> None:
        """The application has answered, through the bridge."""
        if self._phase == WORK:
            self._after_answer(self._transport.is_closing() or self._is_last or self._has_ended)


def _target_in(url: bytes) -> bytes:
    """Path and query of the request line. Raises Refusal."""
    if url.startswith(b"/") and b"#" not in url:
        return url
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        raise answers.bad_request("not a request of HTTP/1.1") from None
    return (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
