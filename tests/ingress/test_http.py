"""Reading a body within limits, answering, refusing: on raw ASGI, as a server speaks it."""

import asyncio
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress import http
from shared.providers import Reply
from tests.ingress.conftest import Answer, Caller

LIMIT = 10


def read(caller: Caller, headers: dict[str, str] | None = None, limit: int = LIMIT, seconds: float = 60.0) -> bytes:
    return asyncio.run(http.read_body(caller.receive, headers or {}, limit, seconds))


def refused(caller: Caller, headers: dict[str, str] | None = None, seconds: float = 60.0) -> http.Refusal:
    with pytest.raises(http.Refusal) as refusal:
        read(caller, headers, seconds=seconds)
    return refusal.value


# Reading


@given(st.lists(st.binary(max_size=LIMIT)))
def test_a_body_of_any_parts_is_read_whole_or_refused_as_too_large(parts: list[bytes]) -> None:
    body = b"".join(parts)
    caller = Caller(body=parts or [b""])
    if len(body) <= LIMIT:
        assert read(caller) == body
    else:
        assert refused(caller).status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


@pytest.mark.parametrize("announced", [None, "10", "", "x", "-1", "10, 10"])
def test_a_body_of_the_limit_is_taken_whatever_was_announced(announced: str | None) -> None:
    headers = {} if announced is None else {"content-length": announced}
    assert read(Caller(body=[b"01234", b"56789", b""]), headers) == b"0123456789"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-length": "5"}, b""),
        ({"content-length": "5"}, b"0123"),
        ({"content-length": "0"}, b"0123"),
        ({"transfer-encoding": "chunked", "upgrade": "h2c"}, b""),
    ],
)
def test_a_body_that_a_server_lost_is_refused(headers: dict[str, str], body: bytes) -> None:
    assert refused(Caller(body=body), headers).outcome == "incomplete"


@pytest.mark.parametrize("announced", ["11", "00011", "9" * 30])
def test_a_body_announced_too_large_is_refused_before_it_is_read(announced: str) -> None:
    caller = Caller(body=b"x")
    refusal = refused(caller, {"content-length": announced})
    assert (refusal.status, refusal.outcome) == (413, "too_large")
    assert refusal.say == "the body may have up to 10 bytes"
    assert refusal.headers == ((b"connection", b"close"),)
    assert caller.read == 0


def test_a_body_that_grows_too_large_is_refused_without_reading_the_rest() -> None:
    caller = Caller(body=[b"0123456789", b"0", *[b"rest"] * 100])
    refusal = refused(caller, {"content-length": "5"})
    assert (refusal.status, refusal.outcome) == (413, "too_large")
    assert caller.read == 2


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, identity", "identity, gzip", "chunked", "x"])
def test_an_encoded_body_is_refused_before_it_is_read(encoding: str) -> None:
    caller = Caller(body=b"x")
    refusal = refused(caller, {"content-encoding": encoding})
    assert (refusal.status, refusal.outcome) == (415, "encoding")
    assert refusal.headers == ((b"connection", b"close"),)
    assert caller.read == 0


@pytest.mark.parametrize("encoding", ["identity", "Identity", " identity ", ""])
def test_a_body_that_says_it_is_not_encoded_is_read(encoding: str) -> None:
    assert read(Caller(body=b"x"), {"content-encoding": encoding}) == b"x"


@pytest.mark.parametrize("parts", [[], [b"begun"]], ids=["nothing", "some"])
def test_a_body_that_does_not_come_in_time_is_refused(parts: list[bytes]) -> None:
    caller = Caller(body=[*parts, b"never"])
    del caller.messages[-1]
    refusal = refused(caller, seconds=0.01)
    assert (refusal.status, refusal.outcome) == (408, "timeout")
    assert refusal.say == "the body took over 0.01 s"
    assert refusal.headers == ((b"connection", b"close"),)


@pytest.mark.parametrize("parts", [[None], [b"begun", None]], ids=["at once", "later"])
def test_a_caller_that_hangs_up_is_gone(parts: list[bytes | None]) -> None:
    with pytest.raises(http.Gone):
        read(Caller(body=parts))


# Headers


def test_headers_are_read_and_a_repeated_one_is_joined() -> None:
    headers = [("x-sign", "one"), ("accept", "a"), ("x-sign", "two"), ("x-odd", "\xe4\xff"), ("x-sign", "")]
    read = http.headers_of(Caller(headers=headers).scope)
    assert read == {"x-sign": "one, two, ", "accept": "a", "x-odd": "\xe4\xff"}


# Answering


def answer_of(say: Any) -> Answer:
    caller = Caller()
    asyncio.run(say(caller.send))
    return caller.answer()


@pytest.mark.parametrize(
    ("reply", "headers"),
    [
        (Reply(), [("content-length", "0"), ("x-callbox-id", "an-id")]),
        (Reply(b"success", "text/plain", b"error"), [("content-length", "7"), ("content-type", "text/plain")]),
        (Reply(b"OK", None, None, 202), [("content-length", "2")]),
    ],
)
def test_a_callback_is_acknowledged_in_the_words_of_its_provider(reply: Reply, headers: list[tuple[str, str]]) -> None:
    answer = answer_of(lambda send: http.acknowledge(send, reply, "an-id"))
    assert (answer.status, answer.body) == (reply.status, reply.body)
    assert sorted(answer.headers) == sorted({*headers, ("x-callbox-id", "an-id")})


REFUSALS = [
    (http.not_found(), 404, "no such callback address", {}),
    (http.wrong_method(("POST", "GET")), 405, "use POST or GET", {"allow": "POST, GET"}),
    (http.not_proven(), 401, "not proven", {}),
    (http.unavailable(7), 503, "cannot keep it now, send it again", {"retry-after": "7"}),
]


@pytest.mark.parametrize(("refusal", "status", "said", "headers"), REFUSALS, ids=[it[0].outcome for it in REFUSALS])
@pytest.mark.parametrize("reply", [None, Reply(b"fine", "text/plain")], ids=["no provider", "no words"])
def test_a_provider_without_an_error_body_is_refused_in_one_line_of_json(
    refusal: http.Refusal, status: int, said: str, headers: dict[str, str], reply: Reply | None
) -> None:
    answer = answer_of(lambda send: http.refuse(send, refusal, reply))
    assert (answer.status, answer.error) == (status, said)
    assert answer.body.endswith(b"}\n")
    assert dict(answer.headers) == headers | {
        "content-type": "application/json",
        "content-length": str(len(answer.body)),
    }


@pytest.mark.parametrize(("refusal", "status", "said", "headers"), REFUSALS, ids=[it[0].outcome for it in REFUSALS])
def test_a_provider_with_an_error_body_is_refused_with_it(
    refusal: http.Refusal, status: int, said: str, headers: dict[str, str]
) -> None:
    answer = answer_of(lambda send: http.refuse(send, refusal, Reply(b"success", "text/plain", b"error")))
    assert (answer.status, answer.body) == (status, b"error")
    assert dict(answer.headers) == headers | {"content-type": "text/plain", "content-length": "5"}
