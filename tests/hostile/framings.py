"""Clients that write requests which two readers may read differently, or that ask for another protocol.

Behind each request that must not be read as a body is a callback that is proven and marked: it is accepted only by
a server that was led to read it as a request of its own.
"""

from typing import TYPE_CHECKING

from shared.callback import Request
from tests.hostile import framing
from tests.hostile.client import client
from tests.hostile.got import Got
from tests.hostile.heads import MESSENTE, in_turn, signed_with
from tests.hostile.proofs import resigned

if TYPE_CHECKING:
    from tests.hostile.attack import Attack

SMUGGLED = b"smuggled"  # in the body of each callback that must not be executed
PER_SECOND = 50
NOWHERE = "/callbacks/nobody"


def _smuggled(attack: "Attack") -> bytes:
    """A whole request, proven and marked."""
    request = attack.request(MESSENTE)
    return signed_with(resigned(attack, request, request.body.replace(b'"msg_id":"', b'"msg_id":"' + SMUGGLED)), [])


def _not_switched(got: Got) -> str:
    switched = got.outcomes["101"]
    return f"{switched} switched to another protocol" if switched else ""


def _post(*headers: str, body: bytes = b"", ends: str = "\r\n", target: str = NOWHERE) -> bytes:
    lines = [f"POST {target} HTTP/1.1", "Host: callbox", *headers, "", ""]
    return ends.join(lines).encode("latin-1", "replace") + body


@client("both length headers", "Content-Length and Transfer-Encoding together, in every order and spelling (50/s).")
async def both_lengths(attack: "Attack") -> None:
    hidden = _smuggled(attack)
    whole, chunk = len(hidden) + 5, framing.chunk(hidden) + b"0\r\n\r\n"
    spellings = (
        "Transfer-Encoding: chunked", "Transfer-Encoding : chunked", "Transfer-Encoding: xchunked",
        "Transfer-Encoding:\tchunked", "Transfer-Encoding: chunked, identity", "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "X: y\r\n Transfer-Encoding: chunked",
        "transfer-encoding: CHUNKED", "Transfer-Encoding: \x0bchunked", "Transfer-Encoding: chunked,",
    )  # fmt: skip
    wires = []
    for spelling in spellings:
        for length in (0, 4, whole):
            for headers in ((f"Content-Length: {length}", spelling), (spelling, f"Content-Length: {length}")):
                wires += [_post(*headers, body=b"0\r\n\r\n" + hidden), _post(*headers, body=chunk)]
    # A length that takes in all of it makes it a body, and so do chunks: nothing is to be accepted in any of them.
    await in_turn(attack, wires, PER_SECOND)


@client("doubled and odd lengths", "Two content lengths, signs, blanks, hexadecimal and huge ones (50/s).")
async def odd_lengths(attack: "Attack") -> None:
    hidden = _smuggled(attack)
    whole = len(hidden)
    odd = ("+0", "-1", "0x0", "0,0", f"0, {whole}", "00", "", " ", "1e1", "0;", "9" * 40, "٠", "0 0", str(2**64))
    wires = [_post(f"Content-Length: {value}", body=hidden) for value in odd if value not in ("00", "0,0")]
    wires += [
        _post("Content-Length: 0", f"Content-Length: {whole}", body=hidden),
        _post(f"Content-Length: {whole}", "Content-Length: 0", body=hidden),
        _post(f"Content-Length: {whole}", f"Content-Length: {whole}", body=hidden),
        _post("Content-Length : 0", body=hidden),
    ]
    wires += [
        _post("Transfer-Encoding: chunked", body=size + b"\r\n" + hidden)
        for size in (b"", b" ", b"-1", b"+0", b"0x0", b"g", b"0_0", b"f" * 17, b"1" * 100, b"0 x", b"\t0x")
    ]
    await in_turn(attack, wires, PER_SECOND)


@client("folded headers, bare LF and CR", "Obsolete line folding, and lines that end in LF or CR alone (50/s).")
async def odd_lines(attack: "Attack") -> None:
    hidden = _smuggled(attack)
    length = f"Content-Length: {len(hidden)}"
    await in_turn(
        attack,
        [
            _post("Content-Length:", " 0", f"X: {length}", body=hidden),
            _post("X: y", f" {length}", "Content-Length: 0\n", body=hidden),
            _post("X: y\nTransfer-Encoding: chunked", length, body=b"0\r\n\r\n" + hidden),
            _post("X: y\rTransfer-Encoding: chunked", length, body=b"0\r\n\r\n" + hidden),
            _post(length, body=hidden, ends="\n"),
            _post(length, body=hidden, ends="\r"),
            _post("Transfer-Encoding: chunked", body=b"0\n\n" + hidden),
            _post("Transfer-Encoding: chunked", body=b"0\r\r" + hidden),
            _post("Transfer-Encoding: chunked", body=b"1\nx\n0\n\n" + hidden),
            _post("X: \0", length, body=hidden),
            _post("X\0: y", length, body=hidden),
            _post(": y", length, body=hidden),
            _post(" X: y", length, body=hidden),
            _post("X y", length, body=hidden),
        ],
        PER_SECOND,
    )


@client(
    "other protocols",
    "h2c, HTTP/2's preface, WebSocket, CONNECT, HTTP/0.9, HTTP/1.0 and 9.9, and TLS to the plain port (50/s).",
    may_accept=True,
    expect=_not_switched,
)
async def protocols(attack: "Attack") -> None:
    upgrade = [("Connection", "Upgrade, HTTP2-Settings"), ("HTTP2-Settings", "AAMAAABkAAQAAP__")]
    socket = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
    key = [("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]
    callback: Request = attack.request(MESSENTE)
    await in_turn(
        attack,
        [
            framing.head("GET", "/healthz", [*upgrade, ("Upgrade", "h2c")]),
            signed_with(callback, [*upgrade, ("Upgrade", "h2c")]),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
            framing.head("GET", f"/callbacks/{MESSENTE}", [*socket, *key]),
            signed_with(callback, [*socket, *key]),
            b"CONNECT 127.0.0.1:6379 HTTP/1.1\r\nHost: 127.0.0.1:6379\r\n\r\nPING\r\n",
            b"CONNECT /callbacks/nobody HTTP/1.1\r\nHost: callbox\r\n\r\n",
            b"GET /healthz\r\n",
            b"GET /healthz HTTP/0.9\r\n\r\n",
            b"GET /healthz HTTP/1.0\r\n\r\n",
            b"GET /healthz HTTP/9.9\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
            b"TRACE / HTTP/1.1\r\nHost: callbox\r\n\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + signed_with(callback, []),
        ],
        PER_SECOND,
    )


@client("odd addresses", "Absolute, dotted, doubled, encoded and impossible addresses of sources, unsigned (50/s).")
async def targets(attack: "Attack") -> None:
    odd = (
        f"http://callbox/callbacks/{MESSENTE}", f"http://user@elsewhere:99/callbacks/{MESSENTE}", "*", "//", "/",
        f"//callbacks/{MESSENTE}", f"/callbacks//{MESSENTE}", f"/callbacks/./{MESSENTE}", f"/x/../callbacks/{MESSENTE}",
        f"/callbacks/%2e%2e/callbacks/{MESSENTE}", f"/callbacks%2f{MESSENTE}", f"/%63allbacks/{MESSENTE}",
        f"/callbacks/{MESSENTE}#x", f"/callbacks/{MESSENTE};x", f"/callbacks/{MESSENTE}%00", "/callbacks/%ff%fe",
        f"/CALLBACKS/{MESSENTE}", f"/callbacks/{MESSENTE}?token", f"/callbacks/{MESSENTE}/%20", f"callbacks/{MESSENTE}",
        "http://", "http://[::1", "/callbacks/\x7f", "/callbacks/\xff", f"/callbacks/{MESSENTE}?\xff", "?", "/%",
        "/%zz", "/%6detrics/", "/..;/metrics", "ftp://x/", "javascript:x", "/callbacks/" + "a/" * 500,
    )  # fmt: skip
    await in_turn(attack, [framing.request("POST", target, b"{}") for target in odd], PER_SECOND)
