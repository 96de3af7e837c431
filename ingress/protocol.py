"""HTTP/1.1 for an open port: `uvicorn ingress.app:app --http ingress.protocol:Bounded`, parsed by httptools.

One connection, one request at a time. A callback goes from the parser to its receiver and from the disk to its answer
without a task, a queue or a copy between; any other path is served through ASGI.

- A head, the framing of a body and a body have limits; a head, a body, the reading of an answer and the pause between
  two requests have deadlines (`ingress/gate.py`).
- The parser gets one request at a time: what comes early waits, of it one read, and the rest in the socket.
- Trailers are no headers: they are dropped.
- What is refused before its body is there is answered at once, and its connection ends.
- `Upgrade` is ignored, as RFC 9110, 7.8 allows. The parser stops where another protocol might begin: the body is taken
  by its length from what follows.
- A server that stops awaits a last request on an open connection for a moment, so that none that is on its way is lost.
"""

import asyncio
import logging
from typing import Any, Protocol, cast

import httptools
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.utils import get_remote_addr
from uvicorn.server import ServerState

from ingress import http
from ingress.gate import Gate
from ingress.http import Answer, Refusal
from ingress.receive import Admitted, Place, Receiver, Taken, place_in

WORK_SECONDS = 60.0  # for an answer: longer than any commit takes, so that no failure of ours keeps a connection
LAST_SECONDS = 1.0  # for a last request, once the server stops
LINGER_SECONDS = 2.0  # for a caller to see an answer that came before it had sent everything
LINGER_BYTES = 4 * 1024 * 1024  # of what it may still send then
UNREAD_BYTES = 16 * 1024  # of answers, from which on the next request waits
PART_BYTES = 16  # of framing that a part of a body counts as, however it is framed
HEADER_BYTES = 200  # of memory that a header takes beside its text
REQUEST_BYTES = 1000  # and an unfinished request beside its own
BLOCK_END = b"\r\n\r\n"  # a head, and a chunked body, end so; strict as httptools is, they cannot end otherwise

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
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._peer: tuple[str, int] | None = None
        self._parser: httptools.HttpRequestParser | None = None
        self._flow: FlowControl | None = None  # for ASGI

        self.deadline = 0.0
        self.unread_since = 0.0
        self.held_bytes = 0
        self._phase = IDLE
        self._buffer = b""  # what was read and not yet parsed, from `_at` on
        self._at = 0
        self._is_paused = False
        self._is_unwritable = False
        self._is_last = False
        self._has_ended = False  # the caller sends no more
        self._begin_request()

    def _begin_request(self) -> None:
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._header_count = 0  # with trailers
        self._method = ""
        self._keep_alive = False
        self._place: Place | None = None
        self._admitted: Admitted | None = None
        self._refused: Answer | None = None
        self._cycle: RequestResponseCycle | None = None
        self._parts: list[bytes] = []
        self._body_bytes = 0
        self._body_left = 0  # of a body of known length
        self._framing_bytes = 0  # of the head, then of what frames a body
        self._tail = b""  # the last bytes of a block whose end is not there yet
        self._is_chunked = False
        self._is_upgrade = False
        self._expects_continue = False
        self._is_whole = False

    # What the transport tells

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
        if self._cycle is not None:
            self._cycle.disconnected = True
            self._cycle.message_event.set()
        if self._flow is not None:
            self._flow.resume_writing()
        self._gate.leave(self, self._peer and self._peer[0])
        self._phase = CLOSING
        self._parser = None  # it knows this object: a cycle, which nobody would look for soon
        self._buffer = b""
        self._begin_request()

    def data_received(self, data: bytes) -> None:
        if self._phase == LINGERING:
            self._framing_bytes += len(data)
            if self._framing_bytes > LINGER_BYTES:
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
        if self._flow is not None:
            self._flow.pause_writing()

    def resume_writing(self) -> None:
        self._is_unwritable = False
        if self._flow is not None:
            self._flow.resume_writing()
        self._go_on()

    # What the gate and the server ask

    def unread_bytes(self) -> int:
        return self._transport.get_write_buffer_size()

    def expire(self) -> None:
        """The time of this phase is up."""
        self._gate.ended(_WHY[self._phase])
        if self._phase == BODY:
            self._answer_early(self._refusal(http.too_slow(f"the body took over {self._limits.body_seconds:g} s")))
        elif self._phase in (IDLE, HEAD):
            self._close()
        else:
            self._transport.abort()

    def evict(self) -> None:
        """Makes room for others. A request that is in work is still answered, and nothing that came behind it."""
        if self._phase == WORK:
            self._keep_alive = False
            self._buffer, self._at = b"", 0
        else:
            self._answer_early(self._refusal(http.too_slow("memory is short")))

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

    # What the parser tells

    def on_url(self, url: bytes) -> None:
        if self._is_whole:
            raise http.bad_request("not a request of HTTP/1.1")  # it ended where this file did not see an end
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        if self._header_count > self._limits.headers:
            self._refused = self._refusal(http.head_too_large(f"send up to {self._limits.headers} headers"))
            raise httptools.HttpParserError  # nothing behind it is worth the time
        if self._phase == HEAD:  # else it is a trailer
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None  # noqa: S101 - it is telling
        self._method = parser.get_method().decode("ascii")
        version = parser.get_http_version()
        self._keep_alive = version == "1.1" and parser.should_keep_alive() and not self._is_last
        self._framing_bytes = 0
        self._phase = BODY
        self.deadline = self._loop.time() + self._limits.body_seconds
        for name, value in self._headers:
            if name == b"content-length":
                self._body_left = int(value)
            elif name == b"transfer-encoding":
                self._is_chunked = True
            elif name == b"expect":
                self._expects_continue = value.lower() == b"100-continue"
        self._is_upgrade = parser.should_upgrade()
        try:
            if version not in ("1.0", "1.1"):
                raise http.bad_request("use HTTP/1.1")
            if self._is_upgrade and (self._is_chunked or self._method == "CONNECT"):
                raise http.bad_request("send the body with a content length, or without Upgrade")
            self._admit()
        except Exception as error:
            self._refused = self._refusal(error)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._is_chunked:
            self._framing_bytes += PART_BYTES - len(body)
        if self._refused is not None:
            return
        limit = self._limits.body_bytes if self._admitted is None else self._admitted.body_limit_bytes
        if self._body_bytes > limit:
            self._parts.clear()
            self._refused = self._refusal(http.too_large(limit))
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        self._is_whole = not (self._is_upgrade and self._body_left)
        if self._is_chunked and self._parser is not None and not self._parser.should_keep_alive():
            self._keep_alive = False  # httptools obeys a trailer `Connection: close`, and would read nothing more

    # One request

    def _read(self) -> None:
        """Parses what is there, up to the end of a request."""
        if self._parser is None:
            self._parser = httptools.HttpRequestParser(self)
        size = len(self._buffer)
        try:
            view = memoryview(self._buffer)
            while self._at < size and not self._is_whole:
                end = self._end_of_piece(size)
                piece, self._at = view[self._at : end], end
                self._feed(piece)
        except httptools.HttpParserError:
            self._answer_early(self._refused or self._refusal(http.bad_request("not a request of HTTP/1.1")))
        except Refusal as refusal:
            self._answer_early(self._refusal(refusal))
        else:
            if self._at == size:
                self._buffer, self._at = b"", 0
            if self._is_whole:
                self._finish()
            elif self._refused is not None:
                self._answer_early(self._refused)
            else:
                self._await_more()

    def _end_of_piece(self, size: int) -> int:
        """Where the parser must not read beyond: the end of a body, or of a block that may end the request."""
        if self._phase == BODY and self._body_left:
            return min(size, self._at + self._body_left)
        if self._tail:
            across = (self._tail + self._buffer[self._at : self._at + 3]).find(BLOCK_END)
            if across >= 0:
                end = self._at + across + len(BLOCK_END) - len(self._tail)
                self._tail = b""
                return end
        found = self._buffer.find(BLOCK_END, self._at)
        if found >= 0:
            self._tail = b""
            return found + len(BLOCK_END)
        self._tail = (self._tail + self._buffer[max(self._at, size - 3) :])[-3:]
        return size

    def _feed(self, piece: memoryview) -> None:
        """Raises HttpParserError or Refusal."""
        assert self._parser is not None  # noqa: S101 - made by the caller
        size = len(piece)
        is_head = self._phase == HEAD
        if is_head:
            self._framing_bytes += size
            self._check_framing()
        elif self._body_left:
            self._body_left -= size
            if self._is_upgrade:
                self.on_body(bytes(piece))
                self._is_whole = not self._body_left
                return
        else:
            self._framing_bytes += size  # less what of it is body
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            if not is_head or upgrade.args[0] != size:
                raise http.bad_request("not a request of HTTP/1.1") from None
        if not is_head:
            self._check_framing()

    def _check_framing(self) -> None:
        if self._framing_bytes > self._limits.head_bytes:
            raise http.head_too_large(f"a head, or the framing of a body, may have {self._limits.head_bytes} bytes")

    def _admit(self) -> None:
        """Finds who serves the request. Raises Refusal."""
        target = self._url
        if not target.startswith(b"/") or b"#" in target:
            try:
                parsed = httptools.parse_url(target)
            except httptools.HttpParserInvalidURLError:
                raise http.bad_request("not a request of HTTP/1.1") from None
            target = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
        text = self._root_path + target.decode("latin-1")
        self._url = target
        receiver = self._served.receiver
        self._place = place_in(text.partition("?")[0].removeprefix(self._root_path)) if receiver else None
        if self._place is not None and receiver is not None:
            peer = self._peer and self._peer[0]
            self._admitted = receiver.admit(self._place, self._method, text, self._headers, peer)
        elif self._body_left > self._limits.body_bytes:
            raise http.too_large(self._limits.body_bytes)

    def _await_more(self) -> None:
        """The request is not there in whole: what it holds counts from here on."""
        if self._phase == BODY:
            if not self._body_bytes and self._expects_continue:
                self._expects_continue = False
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            size = self._body_bytes
        else:
            size = self._framing_bytes
        self._gate.hold(self, size + len(self._headers) * HEADER_BYTES + REQUEST_BYTES)

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
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        if self._admitted is None or self._served.receiver is None:
            self._serve_other(body)
            return
        try:
            taken = self._served.receiver.take(self._admitted, body)
        except Exception as error:
            self._answer(self._refusal(error))
        else:
            taken.done.add_done_callback(lambda done: self._committed(taken))

    def _committed(self, taken: Taken) -> None:
        assert self._served.receiver is not None  # noqa: S101 - it took the callback
        error = taken.done.exception()
        if error is None:
            self._answer(self._served.receiver.acknowledge(taken))
        else:
            self._answer(self._served.receiver.refuse(taken.source, error))

    def _refusal(self, error: BaseException) -> Answer:
        if self._served.receiver is not None:
            return self._served.receiver.refuse(self._place.source if self._place else "", error)
        refusal = error if isinstance(error, Refusal) else http.unavailable(self._limits.retry_after_seconds)
        return http.in_words_of(None, refusal)

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
        close = not self._keep_alive or self._is_last or self._has_ended or self._is_upgrade
        self._transport.write(http.on_the_wire(answer, self._gate.date(), close, self._method == "HEAD"))
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
        self._transport.write(http.on_the_wire(answer, self._gate.date(), True, self._method == "HEAD"))
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

    # Any other path

    def _serve_other(self, body: bytes) -> None:
        path, _, query = self._url.partition(b"?")
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": None,
            "client": self._peer,
            "scheme": "http",
            "method": self._method,
            "root_path": self._root_path,
            "path": self._root_path + http.decoded(path),
            "raw_path": self._root_path.encode() + path,
            "query_string": query,
            "headers": self._headers,
            "state": self._app_state.copy(),
        }
        if self._flow is None:
            self._flow = FlowControl(self._transport)
        logger = logging.getLogger("uvicorn.error")
        self._cycle = RequestResponseCycle(
            scope=scope,  # type: ignore[arg-type]
            transport=self._transport,
            flow=self._flow,
            logger=logger,
            access_logger=logger,
            access_log=False,
            default_headers=[(b"date", self._gate.date())],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=self._keep_alive and not self._is_upgrade,
            on_response=self._other_answered,
        )
        self._cycle.body += body
        self._cycle.more_body = False
        self._cycle.message_event.set()
        task = self._loop.create_task(self._cycle.run_asgi(self._served.others))  # type: ignore[arg-type]
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)

    def _other_answered(self) -> None:
        if self._phase == WORK:
            self._after_answer(self._transport.is_closing() or self._is_last or self._has_ended)
