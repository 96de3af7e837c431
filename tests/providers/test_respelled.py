"""A URL that is signed in one spelling and requested in another, and what only looks like that."""

import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared import signing
from shared.allowance import Allowance
from shared.callback import Arrival, Request
from shared.errors import Rejected
from shared.payload.form import Form
from shared.payload.spellings import LIKELY, spellings
from shared.providers import twilio
from shared.providers._kit.respelled import TRY_BYTES
from tests.providers.support import callback_of, prove, source_of

SECRET = "the secret of the source"
PUBLIC_URL = "https://callbacks.example.com"
PATH = "/callbacks/fleet"
VARIED = ":'@(*)! "
NEVER_ESCAPED = "-._~"

Pairs = list[tuple[str, str]]
texts = st.text(st.sampled_from(VARIED + "aZ9+&=%#/?-._~\n\r\0é好👋"), max_size=12) | st.text(max_size=6)
parameters = st.lists(st.tuples(texts, texts).filter(any), min_size=1, max_size=5)


def written(pairs: Pairs, raw: str, *, plus: bool) -> str:
    """As an encoder does that leaves `raw` as it is."""
    fields = (f"{quote(name, raw)}={quote(value, raw)}" for name, value in pairs)
    query = "&".join(fields)
    return query.replace("%20", "+") if plus else query


@st.composite
def spelled(draw: st.DrawFn, pairs: Pairs) -> str:
    """Each character as it is or as an escape, at each place anew."""

    def one(char: str) -> str:
        if char == " ":
            return draw(st.sampled_from(["+", "%20"]))
        escape = "".join(f"%{byte:02x}" for byte in char.encode())
        raw = [char] if char.isascii() and (char.isalnum() or char in VARIED + NEVER_ESCAPED) else []
        return draw(st.sampled_from([*raw, escape, escape.upper()]))

    return "&".join("=".join("".join(map(one, text)) for text in pair) for pair in pairs)


def requested(query: str, signed: str, body: bytes = b"") -> Arrival:
    signature = signing.hmac_base64(SECRET, f"{PUBLIC_URL}{PATH}?{signed}".encode(), "sha1")
    headers = {"x-twilio-signature": signature}
    request = Request(method="GET", path=PATH, query=query, headers=headers, body=body)
    return callback_of("twilio", request, datetime.now(UTC))


def accepts(arrival: Arrival) -> bool:
    try:
        prove(arrival, source_of("twilio", secrets=[SECRET], public_url=PUBLIC_URL))
    except Rejected:
        return False
    return True


@given(parameters, st.sets(st.sampled_from(VARIED)), st.booleans(), st.data())
def test_any_spelling_of_the_signed_parameters_is_accepted(
    pairs: Pairs, raw: set[str], plus: bool, data: st.DataObject
) -> None:
    signed = written(pairs, "".join(raw - {" "}), plus=plus)
    assert accepts(requested(data.draw(spelled(pairs)), signed))


@given(parameters, parameters, st.booleans(), st.data())
def test_other_parameters_are_refused(signed: Pairs, pairs: Pairs, plus: bool, data: st.DataObject) -> None:
    query = data.draw(st.sampled_from([pairs, pairs + signed, signed[:-1], signed[::-1]]).flatmap(spelled))
    assume(parse_qsl(query, keep_blank_values=True) != signed)
    assert not accepts(requested(query, written(signed, VARIED, plus=plus)))


@pytest.mark.parametrize(
    ("signed", "query", "right"),
    [
        ("Body=I'm%20here&From=whatsapp:%2B441234567890", "Body=I%27m%20here&From=whatsapp%3A%2B441234567890", True),
        ("Body=I'm+here&From=whatsapp:%2B441234567890", "Body=I%27m%20here&From=whatsapp%3a%2b441234567890", True),
        ("a=1&b=2", "b=2&a=1", False),
        ("a=1&a=2", "a=2&a=1", False),
        ("a=1+2", "a=1%2B2", False),
        ("a=1%2B2", "a=1+2", False),
        ("a=b%26c=d", "a=b&c=d", False),
        ("a=b", "a=b&c=", False),
        ("a=%2527", "a=%27", False),
        ("a=%27", "a=%2527", False),
        ("a=%zz", "a=%25zz", False),
        ("a=b", "a=B", False),
        ("a=é", "a=%C3%A9", False),
    ],
)
def test_examples(signed: str, query: str, right: bool) -> None:
    assert accepts(requested(query, signed)) is right


def test_only_a_request_without_a_body_is_read_in_other_spellings() -> None:
    assert not accepts(requested("a=%27", "a='", b"b=c"))


@given(parameters)
def test_each_spelling_comes_once_and_means_the_same(pairs: Pairs) -> None:
    form = Form(written(pairs, "", plus=True).encode())
    found = list(spellings(form))
    assert len(found) == len(set(found))
    assert all(Form(spelling).parameters(exactly=True) == form.parameters() for spelling in found)


def test_a_flood_has_little_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twilio.respelled, "likely", Allowance(a_second=0, at_once=1_000_000))
    monkeypatch.setattr(twilio.respelled, "unlikely", Allowance(a_second=0, at_once=100_000))
    monkeypatch.setattr(hmac, "digest", counted := Counted(hmac.digest))
    text = [("Body", f"I'm here (now)! {VARIED}")]
    for _ in range(10):
        assert not accepts(requested(written(text, "", plus=False), ""))
    assert counted.calls <= 10 * (1 + 2 + LIKELY) + 100_000 // TRY_BYTES
    for plus in (True, False):
        assert accepts(requested(written(text, "", plus=True), written(text, "':@", plus=plus)))
    counted.calls = 0
    for _ in range(1000):
        assert not accepts(requested(written(text, "", plus=False), ""))
    assert counted.calls <= 1000 * (1 + 2) + 1_100_000 // TRY_BYTES


class Counted:
    def __init__(self, function: Callable[..., bytes]) -> None:
        self._function, self.calls = function, 0

    def __call__(self, *args: Any) -> bytes:
        self.calls += 1
        return self._function(*args)
