"""Reads requests from bytes as RFC 9112 has it, and nothing that two readers could read differently.

It is the fuzzer's own reader: what was sent is judged by it, never by the parser of the ingress.
"""

import re
from typing import Literal, NamedTuple

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~\x80-\xff]+) HTTP/([0-9]\.[0-9])")
_VALUE = re.compile(rb"[\t -~\x80-\xff]*")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})(;[\t -~\x80-\xff]*)?")
_LENGTH = re.compile(rb"[0-9]{1,18}")

State = Literal["complete", "incomplete", "ambiguous"]


class Sent(NamedTuple):
    """One request. Header names are lower case; `headers` keeps order and repetitions."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    version: str = "1.1"

    @property
    def is_last(self) -> bool:
        """Whether its sender announced that nothing follows on this connection (RFC 9112, 9.3)."""
        options = {option.strip().lower() for value in self.values("connection") for option in value.split(",")}
        return "close" in options or (self.version < "1.1" and "keep-alive" not in options)

    def values(self, name: str) -> list[str]:
        return [value for its_name, value in self.headers if its_name == name]


class _Stop(Exception):
    """The bytes end early, or cannot be read in one way only."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.state: State = state


def read_all(wire: bytes) -> tuple[list[Sent], State]:
    """The requests in these bytes up to the first that is not whole or can be read in two ways, and how it is there."""
    found: list[Sent] = []
    while wire:
        wire = wire.lstrip(b"\r\n")  # RFC 9112, 2.2: empty lines before a request are ignored
        if not wire:
            break
        try:
            sent, wire = _read(wire)
        except _Stop as stop:
            return found, stop.state
        found.append(sent)
    return found, "complete"


def _read(wire: bytes) -> tuple[Sent, bytes]:
    head, end, rest = wire.partition(b"\r\n\r\n")
    if not end:
        raise _Stop("incomplete")
    first, *lines = head.split(b"\r\n")
    request = _REQUEST_LINE.fullmatch(first)
    if request is None:
        raise _Stop("ambiguous")
    headers = [_header(line) for line in lines]
    body, rest = _body(headers, rest)
    return Sent(request[1].decode(), request[2].decode("latin-1"), headers, body, request[3].decode()), rest


def _header(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b":")
    if not (colon and _TOKEN.fullmatch(name) and _VALUE.fullmatch(value)):
        raise _Stop("ambiguous")
    return name.decode().lower(), value.strip(b" \t").decode("latin-1")


def _body(headers: list[tuple[str, str]], rest: bytes) -> tuple[bytes, bytes]:
    lengths = [value.encode("latin-1") for name, value in headers if name == "content-length"]
    codings = [value.lower() for name, value in headers if name == "transfer-encoding"]
    if lengths and codings:
        raise _Stop("ambiguous")
    if codings:
        if codings != ["chunked"]:
            raise _Stop("ambiguous")
        return _chunks(rest)
    if not lengths:
        return b"", rest
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise _Stop("ambiguous")
    if len(rest) < (length := int(lengths[0])):
        raise _Stop("incomplete")
    return rest[:length], rest[length:]


def _chunks(rest: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, rest = _line(rest)
        chunk = _CHUNK.fullmatch(line)
        if chunk is None:
            raise _Stop("ambiguous")
        size = int(chunk[1], 16)
        if size == 0:
            break
        if len(rest) < size + 2:
            raise _Stop("incomplete")
        if rest[size : size + 2] != b"\r\n":
            raise _Stop("ambiguous")
        body, rest = body + rest[:size], rest[size + 2 :]
    while True:
        line, rest = _line(rest)
        if not line:
            return body, rest
        _header(line)


def _line(rest: bytes) -> tuple[bytes, bytes]:
    line, end, rest = rest.partition(b"\r\n")
    if not end:
        raise _Stop("incomplete")
    return line, rest
