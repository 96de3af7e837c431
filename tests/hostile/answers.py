"""Reads the answers of an HTTP/1.1 server from the bytes of one connection."""

from typing import NamedTuple


class Reply(NamedTuple):
    """One answer. `status` is 0 for bytes that are no HTTP answer."""

    status: int
    callback_id: str = ""
    closes: bool = False  # the server said that it closes the connection


class Replies:
    """The answers of one connection, in order. `without_bodies` is for answers to HEAD."""

    def __init__(self, without_bodies: bool = False) -> None:
        self._read = b""
        self._without_bodies = without_bodies

    def feed(self, data: bytes) -> list[Reply]:
        """The answers that are complete with these bytes."""
        self._read += data
        found: list[Reply] = []
        while self._read:
            if not self._read.startswith(b"HTTP/1."[: len(self._read)]):
                self._read = b""
                return [*found, Reply(0)]
            reply = self._next()
            if reply is None:
                return found
            found.append(reply)
        return found

    def _next(self) -> Reply | None:
        ends = self._read.find(b"\r\n\r\n")
        if ends < 0:
            return None
        first, _, lines = self._read[:ends].partition(b"\r\n")
        status = first[9:12]
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in lines.split(b"\r\n"))
        }
        after = ends + 4 + self._body_bytes(ends + 4, int(status) if status.isdigit() else 0, headers)
        if len(self._read) < after:
            return None
        self._read = self._read[after:]
        return Reply(
            int(status) if status.isdigit() else 0,
            headers.get(b"x-callbox-id", b"").decode("latin-1"),
            headers.get(b"connection", b"").lower() == b"close",
        )

    def _body_bytes(self, begins: int, status: int, headers: dict[bytes, bytes]) -> int:
        """The length of the body that begins there; more than was read when its end was not."""
        if self._without_bodies or status < 200 or status in (204, 304):
            return 0
        if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            ends = self._read.find(b"0\r\n\r\n", begins)
            return ends + 5 - begins if ends >= 0 else len(self._read)
        length = headers.get(b"content-length", b"")
        return int(length) if length.isdigit() else len(self._read) - begins
