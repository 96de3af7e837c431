"""Reading a body within limits, answering, refusing: on raw ASGI, as a server speaks it."""

import asyncio
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress import answers
from shared.providers import Reply
from tests.ingress.conftest import Answer, Caller

LIMIT = 10


def read(caller: Caller, headers: dict[str, str] | None = None, limit: int = LIMIT, seconds: float = 60.0) -> bytes:
    return asyncio.run(answers.read_body(caller.receive, headers or {}, limit, seconds))


def refused(caller: Caller, headers: dict[str, str] | None = None, seconds: float = 60.0) -> answers.Refusal:
    with pytest.raises(answers.Refusal) as refusal:
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
def test_a_body_announced_too_large_is_refused_by_its_head(announced: str) -> None:
    with pytest.raises(answers.Refusal, match="the body may have up to 10 bytes") as refusal:
        answers.check_head({"content-length": announced}, LIMIT)
    assert (refusal.value.status, refusal.value.outcome) == (413, "too_large")


@pytest.mark.parametrize("announced", ["10", "0", "", "x", "-1", "10, 10", "٣٣"])
def test_a_body_that_may_come_is_not_refused_by_its_head(announced: str) -> None:
    answers.check_head({"content-length": announced}, LIMIT)


def test_a_body_that_grows_too_large_is_refused_without_reading_the_rest() -> None:
    caller = Caller(body=[b"0123456789", b"0", *[b"rest"] * 100])
    refusal = refused(caller)
    assert (refusal.status, refusal.outcome) == (413, "too_large")
    assert caller.read == 2


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, identity", "identity, gzip", "chunked", "x"])
def test_an_encoded_body_is_refused_by_its_head(encoding: str) -> None:
    with pytest.raises(answers.Refusal) as refusal:
        answers.check_head({"content-encoding": encoding}, LIMIT)
    assert (refusal.value.status, refusal.value.outcome) == (415, "encoding")


@pytest.mark.parametrize("encoding", ["identity", "Identity", " identity ", ""])
def test_a_body_that_says_it_is_not_encoded_may_come(encoding: str) -> None:
    answers.check_head({"content-encoding": encoding}, LIMIT)


@pytest.mark.parametrize("parts", [[], [b"begun"]], ids=["nothing", "some"])
def test_a_body_that_does_not_come_in_time_is_refused(parts: list[bytes]) -> None:
    caller = Caller(body=[*parts, b"never"])
    del caller.messages[-1]
    refusal = refused(caller, seconds=0.01)
    assert (refusal.status, refusal.outcome) == (408, "timeout")
    assert refusal.message == "the body took over 0.01 s"


@pytest.mark.parametrize("parts", [[None], [b"begun", None]], ids=["at once", "later"])
def test_a_caller_that_hangs_up_is_gone(parts: list[bytes | None]) -> None:
    with pytest.raises(answers.Gone):
        read(Caller(body=parts))


# Answering


def answer_of(answer: answers.Answer, close: bool = False) -> Answer:
    caller = Caller()
    asyncio.run(answers.send_answer(caller.send, answer, close))
    return caller.answer()


def on_the_wire(answer: answers.Answer, close: bool = False, is_head: bool = False) -> tuple[list[str], bytes]:
    head, _, body = answers.on_the_wire(answer, b"now", close, is_head).partition(b"\r\n\r\n")
    return head.decode("latin-1").split("\r\n"), body


def test_an_answer_is_the_same_on_the_wire_and_through_asgi() -> None:
    answer = answers.Answer(202, ((b"x-callbox-id", b"an-id"), (b"content-type", b"text/plain")), b"success")
    through = answer_of(answer)
    assert (through.status, through.body) == (202, b"success")
    (status, *lines), body = on_the_wire(answer)
    assert (status, body) == ("HTTP/1.1 202 Accepted", b"success")
    assert sorted(lines) == sorted([*(f"{name}: {value}" for name, value in through.headers), "date: now"])


def test_an_answer_before_the_end_of_a_request_closes_the_connection() -> None:
    answer = answers.Answer(404, (), b"")
    assert answer_of(answer, close=True).header("connection") == "close"
    assert "connection: close" in on_the_wire(answer, close=True)[0]
    assert not any("connection" in line for line in on_the_wire(answer)[0])


def test_the_answer_to_head_has_no_body_but_its_length() -> None:
    head, body = on_the_wire(answers.Answer(405, (), b"{}"), is_head=True)
    assert "content-length: 2" in head
    assert body == b""


def test_a_status_that_http_does_not_know_goes_without_a_phrase() -> None:
    assert on_the_wire(answers.Answer(299, (), b""))[0][0] == "HTTP/1.1 299 "


REFUSALS = [
    (answers.not_found(), 404, "no such callback address", {}),
    (answers.wrong_method(("POST", "GET")), 405, "use POST or GET", {"allow": "POST, GET"}),
    (answers.not_proven(), 401, "not proven", {}),
    (answers.unavailable(7), 503, "temporarily unavailable, send it again", {"retry-after": "7"}),
]


@pytest.mark.parametrize(
    ("refusal", "status", "said", "headers"), REFUSALS, ids=[refusal[0].outcome for refusal in REFUSALS]
)
@pytest.mark.parametrize("reply", [None, Reply(b"fine", "text/plain")], ids=["no provider", "no words"])
def test_a_provider_without_an_error_body_is_refused_in_one_line_of_json(
    refusal: answers.Refusal, status: int, said: str, headers: dict[str, str], reply: Reply | None
) -> None:
    answer = answer_of(answers.in_words_of(reply, refusal))
    assert (answer.status, answer.error) == (status, said)
    assert answer.body.endswith(b"}\n")
    assert dict(answer.headers) == headers | {
        "content-type": "application/json",
        "content-length": str(len(answer.body)),
    }


@pytest.mark.parametrize(
    ("refusal", "status", "said", "headers"), REFUSALS, ids=[refusal[0].outcome for refusal in REFUSALS]
)
def test_a_provider_with_an_error_body_is_refused_with_it(
    refusal: answers.Refusal, status: int, said: str, headers: dict[str, str]
) -> None:
    answer = answer_of(answers.in_words_of(Reply(b"success", "text/plain", b"error"), refusal))
    assert (answer.status, answer.body) == (status, b"error")
    assert dict(answer.headers) == headers | {"content-type": "text/plain", "content-length": "5"}
