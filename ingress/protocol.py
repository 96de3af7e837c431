"""uvicorn's HTTP/1.1 with what it lacks at an open port: `uvicorn ingress.app:app --http ingress.protocol:Bounded`.

- The head of a request has a limit of bytes and a deadline, as its body has in `ingress/http.py`.
- `Upgrade` is ignored, as RFC 9110, 7.8 allows. The parser stops where another protocol might begin, and uvicorn would
  hand on the request with an empty body, to be acknowledged and lost; here the body is taken from what follows. There
  are no WebSockets either, whose handshakes uvicorn logs with their whole URL.
- When the server stops, a connection between two requests is not closed under a request that may be on its way: that
  one is awaited for a moment and answered with `connection: close`.
"""

import asyncio

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_LIMIT_BYTES = 64 * 1024
HEAD_SECONDS = 10.0
LAST_SECONDS = 1.0  # for a last request, once the server stops


class Bounded(HttpToolsProtocol):
    """One connection."""

    _head_bytes = 0
    _in_head = True
    _head_began = False
    _head_deadline: asyncio.TimerHandle | None = None
    _is_last = False
    _after_upgrade: int | None = None  # bytes of the body that are still to come behind an `Upgrade`

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._after_upgrade is not None:
            self._take_body(data)
            return
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._take_body(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        else:
            if self._in_head and self._head_bytes > HEAD_LIMIT_BYTES:
                self.send_400_response("The head of the request is too large.")
            elif self._head_began and self._head_deadline is None:
                self._await_head()  # hardly ever: a head comes in one piece

    def on_message_begin(self) -> None:
        self._head_began = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        self._in_head = False
        self._head_began = False
        self._head_bytes = 0
        super().on_headers_complete()
        if self._is_last:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            headers = dict(self.headers)
            length = headers.get(b"content-length", b"0")
            self._after_upgrade = int(length) if b"transfer-encoding" not in headers and length.isdigit() else -1
            return
        self._in_head = True
        super().on_message_complete()

    def shutdown(self) -> None:
        if self._is_idle():
            self._is_last = True
            self.loop.call_later(LAST_SECONDS, self._close_if_idle)
        else:
            self.cycle.keep_alive = False

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close_if_idle(self) -> None:
        if self._is_idle() and not self.transport.is_closing():
            self.transport.close()

    def _should_upgrade(self) -> bool:
        return False

    def _take_body(self, data: bytes) -> None:
        """Bytes of the body behind an `Upgrade`. The parser is done for, and with it the connection afterwards."""
        self.cycle.keep_alive = False
        if self._after_upgrade == -1:  # its chunks would have to be parsed
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.send_400_response("Send the body with a content length, or without Upgrade.")
        elif self._after_upgrade is not None:
            part = data[: self._after_upgrade]
            self._after_upgrade -= len(part)
            if part:
                self.on_body(part)
            if not self._after_upgrade:
                super().on_message_complete()

    def _await_head(self) -> None:
        self._head_deadline = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _give_up(self) -> None:
        if self._in_head and not self.transport.is_closing():
            self.transport.close()
