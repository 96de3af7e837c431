"""Requests as bytes: with a length, in chunks, with whatever headers an attacker likes."""

from collections.abc import Iterable

from shared.callback import Request

Headers = Iterable[tuple[str, str]]


def head(method: str, target: str, headers: Headers = (), host: str = "callbox") -> bytes:
    """A request up to the empty line behind its headers."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def request(method: str, target: str, body: bytes = b"", headers: Headers = ()) -> bytes:
    """A whole request with a content length."""
    return head(method, target, [*headers, ("Content-Length", str(len(body)))]) + body


def chunked(method: str, target: str, headers: Headers = ()) -> bytes:
    """The head of a request whose body comes in chunks."""
    return head(method, target, [*headers, ("Transfer-Encoding", "chunked")])


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%s\r\n%s\r\n" % (len(data), extension, data)


def target(request: Request) -> str:
    return request.path + (f"?{request.query}" if request.query else "")


def in_chunks(request: Request, headers: Headers = (), trailers: Headers = ()) -> bytes:
    """The request with its body in one chunk, and trailers behind it."""
    wire = chunked(request.method, target(request), [*request.headers.items(), *headers])
    wire += (chunk(request.body) if request.body else b"") + b"0\r\n"
    return wire + "".join(f"{name}: {value}\r\n" for name, value in trailers).encode("latin-1") + b"\r\n"
