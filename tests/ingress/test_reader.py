"""Bytes → one request: the same wherever they are cut, never beyond its end, and within its sizes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.answers import Refusal
from ingress.reader import Reader, Sizes
from tests.ingress.test_protocol import chunked, post

SIZES = Sizes(head_bytes=1000, headers=10, body_bytes=100)
BODIES = st.lists(st.binary(min_size=1, max_size=12) | st.just(b"\r\n\r\n"), max_size=5)


def read(reader: Reader, data: bytes) -> int:
    """Reads up to the end of a request or of the data; where it stopped."""
    at = 0
    while at < len(data) and not reader.is_whole:
        at = reader.read(data, at)
    return at


@given(BODIES, st.booleans(), st.lists(st.integers(0, 10_000), max_size=6), st.binary(max_size=50))
def test_a_request_is_the_same_wherever_it_is_cut_and_what_follows_is_left(
    chunks: list[bytes], is_chunked: bool, cuts: list[int], behind: bytes
) -> None:
    body = b"".join(chunks)
    wire = chunked(*chunks) if is_chunked else post(body)
    reader = Reader(SIZES)
    places = [0, *sorted(cut % len(wire) for cut in cuts)]
    for start, end in pairwise(places):
        assert read(reader, wire[start:end]) == end - start
        assert not reader.is_whole
    rest = wire[places[-1] :]
    assert read(reader, rest + behind) == len(rest)
    assert reader.is_whole
    assert (reader.method, reader.url, reader.body) == ("POST", b"/callbacks/fleet", body)
    assert reader.keep_alive


def test_it_stops_at_the_end_of_a_head_so_that_somebody_may_judge_it() -> None:
    wire, reader = post(b"hello"), Reader(SIZES)
    assert reader.read(wire, 0) == len(wire) - 5
    assert (reader.has_head, reader.is_whole, reader.announced_bytes) == (True, False, 5)
    reader.is_refused = True
    assert reader.read(wire, len(wire) - 5) == len(wire)
    assert (reader.is_whole, reader.body) == (True, b""), "nothing of a refused body is kept"


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10 + b"\r\n", None),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 12, 431),
        (b"GET /" + b"a" * 1000, 431),
        (post(b"x" * 100), None),
        (post(b"x" * 101), 413),
        (chunked(b"x" * 100), None),
        (chunked(b"x" * 60, b"x" * 60), 413),
        (chunked(*[b"x"] * 70), 431),
        (chunked(b"x")[:-2] + b"a: b\r\n" * 12, 431),
        (b"GET / HTTP/3.0\r\n\r\n", 400),
    ],
)
def test_a_request_has_its_sizes(wire: bytes, status: int | None) -> None:
    if status is None:
        assert read(Reader(SIZES), wire) == len(wire)
    else:
        with pytest.raises(Refusal) as refusal:
            read(Reader(SIZES), wire)
        assert refusal.value.status == status


def test_what_an_unfinished_request_holds_grows_with_it() -> None:
    reader = Reader(SIZES)
    held = [reader.held_bytes]
    for part in (b"POST /callbacks/fleet HTTP/1.1\r\n", b"a: b\r\n", b"Content-Length: 50\r\n\r\n", b"x" * 40):
        read(reader, part)
        held.append(reader.held_bytes)
    assert held[0] < held[1] < held[2]
    assert held[4] == held[3] + 40
