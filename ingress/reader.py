"""Bytes of a connection → one request at a time, parsed by httptools.

The parser gets the bytes of one request and no more, however they come: a head and a chunked body end with an empty
line, so it is fed up to the next one, and a body of known length is fed by its length. What comes early stays with the
caller. Sizes are counted on the way, before anything is kept.
"""

from typing import NamedTuple

import httptools

from ingress import answers
from ingress.answers import Refusal

BLOCK_END = b"\r\n\r\n"  # of a head, and of a chunked body; strict as httptools is, they cannot end otherwise
PART_BYTES = 16  # of framing that a part of a body counts as, however it is framed
HEADER_BYTES = 200  # of memory that a header takes beside its text
REQUEST_BYTES = 1000  # and an unfinished request beside its own


class Sizes(NamedTuple):
    """What a request may have."""

    head_bytes: int  # of its head, and of what frames its body: sizes and extensions of chunks, trailers
    headers: int  # with trailers
    body_bytes: int


class Reader:
    """The request that a connection reads, from its first byte to its last; then the next one.

    `has_head` and `is_whole` show how far it is. A request that `is_refused` is read on, and nothing of it kept.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._parser = httptools.HttpRequestParser(self)
        self.begin()

    def begin(self) -> None:
        """Makes ready for the next request."""
        self.url = b""
        self.method = ""
        self.version = ""
        self.headers: list[tuple[bytes, bytes]] = []
        self.keep_alive = False
        self.expects_continue = False
        self.is_upgrade = False
        self.has_head = False
        self.is_whole = False
        self.is_refused = False
        self.body_limit_bytes = self._sizes.body_bytes
        self.announced_bytes = 0
        self.body_bytes = 0
        self._parts: list[bytes] = []
        self._body_left = 0  # of a body of known length
        self._is_chunked = False
        self._header_count = 0
        self._framing_bytes = 0
        self._tail = b""  # the last bytes of a block whose end is not there yet

    def close(self) -> None:
        """Lets go of the parser, which knows this object: a cycle, which the collector would find late."""
        del self._parser
        self.begin()

    @property
    def body(self) -> bytes:
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    @property
    def held_bytes(self) -> int:
        """What an unfinished request holds, about."""
        size = self.body_bytes if self.has_head else self._framing_bytes
        return size + len(self.headers) * HEADER_BYTES + REQUEST_BYTES

    def read(self, data: bytes, at: int) -> int:
        """Parses from `at` to the end of the head, of the request, or of the data; where it stopped. Raises Refusal."""
        end = self._end_of_piece(data, at)
        piece = memoryview(data)[at:end]
        try:
            if not self.has_head:
                self._framing_bytes += len(piece)
                self._check_framing()
                self._parse_head(piece)
            elif self._body_left:
                self._body_left -= len(piece)
                self._take_body(piece)
            else:
                self._framing_bytes += len(piece)  # less what of it is body
                self._parser.feed_data(piece)
                self._check_framing()
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, Refusal):
                raise error.__context__ from None
            raise answers.bad_request("not a request of HTTP/1.1") from None
        return end

    def _parse_head(self, piece: memoryview) -> None:
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            if upgrade.args[0] != len(piece):
                raise answers.bad_request("not a request of HTTP/1.1") from None

    def _take_body(self, piece: memoryview) -> None:
        if self.is_upgrade:  # the parser is done with it
            self.on_body(bytes(piece))
            self.is_whole = not self._body_left
        else:
            self._parser.feed_data(piece)

    def _end_of_piece(self, data: bytes, at: int) -> int:
        """Where the parser must not read beyond."""
        if self._body_left and self.has_head:
            return min(len(data), at + self._body_left)
        if self._tail:
            across = (self._tail + data[at : at + 3]).find(BLOCK_END)
            if across >= 0:
                end = at + across + len(BLOCK_END) - len(self._tail)
                self._tail = b""
                return end
        found = data.find(BLOCK_END, at)
        if found >= 0:
            self._tail = b""
            return found + len(BLOCK_END)
        self._tail = (self._tail + data[max(at, len(data) - 3) :])[-3:]
        return len(data)

    def _check_framing(self) -> None:
        limit = self._sizes.head_bytes
        if self._framing_bytes > limit:
            raise answers.head_too_large(f"a head, or the framing of a body, may have {limit} bytes")

    # What the parser reports

    def on_url(self, url: bytes) -> None:
        if self.is_whole:
            raise answers.bad_request("not a request of HTTP/1.1")  # it ended where this file did not see an end
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        if self._header_count > self._sizes.headers:  # nothing behind it is worth the time
            raise answers.head_too_large(f"send up to {self._sizes.headers} headers")
        if not self.has_head:  # else it is a trailer, and no header
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.has_head = True
        self._framing_bytes = 0
        self.method = self._parser.get_method().decode("ascii")
        self.version = self._parser.get_http_version()
        self.keep_alive = self.version == "1.1" and self._parser.should_keep_alive()
        self.is_upgrade = self._parser.should_upgrade()
        for name, value in self.headers:
            if name == b"content-length":
                self.announced_bytes = self._body_left = int(value)
            elif name == b"transfer-encoding":
                self._is_chunked = True
                if value.strip().lower() != b"chunked":
                    raise answers.bad_request("send the body without transfer encodings but chunked")
            elif name == b"expect":
                self.expects_continue = value.lower() == b"100-continue"
        if self.version not in ("1.0", "1.1"):
            raise answers.bad_request("use HTTP/1.1")
        if self.method == "CONNECT":
            raise answers.bad_request("this is no proxy")
        if self.is_upgrade and self._is_chunked:
            raise answers.bad_request("send the body with a content length, or without Upgrade")

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        if self._is_chunked:
            self._framing_bytes += PART_BYTES - len(body)
        if self.is_refused:
            return
        if self.body_bytes > self.body_limit_bytes:
            raise answers.too_large(self.body_limit_bytes)
        self._parts.append(body)

    def on_message_complete(self) -> None:
        self.is_whole = not (self.is_upgrade and self._body_left)
        if self._is_chunked and not self._parser.should_keep_alive():
            self.keep_alive = False  # httptools obeys a trailer `Connection: close`, and would read nothing more
