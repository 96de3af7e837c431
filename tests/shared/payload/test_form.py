"""Forms, read at the speed of C, beside what `urllib` makes of them."""

import re
from urllib.parse import unquote_to_bytes, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import Malformed
from shared.payload.form import FORM_FIELDS, FORM_LIMIT_BYTES, Form

PIECES = [
    b"%", b"&", b"=", b"+", b"\n", b"\r", b"a", b"4", b"1", b"_", b" ", b"\0", b"\xff", b"\xfe", b"\xc3\xa9", b"%41",
    b"%3D", b"%3d", b"%26", b"%25", b"%FE", b"%ff", b"%0A", b"%0d", b"%E4%BD%A0", b"\xf0\x9f\x91\x8b",
]  # fmt: skip
NOT_EXACT = re.compile(rb"%(?![0-9A-Fa-f]{2})|%[Ff][EFef]|[\xfe\xff]")

forms = st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join) | st.binary(max_size=40)


def plainly(data: bytes) -> list[tuple[bytes, bytes]]:
    pairs = [part.replace(b"+", b" ").partition(b"=") for part in data.split(b"&") if part]
    return [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in pairs]


def reason(data: bytes, *, exactly: bool = False) -> str:
    with pytest.raises(Malformed) as caught:
        Form(data).parameters(exactly=exactly)
    return caught.value.reason


@settings(max_examples=1500)
@given(forms)
def test_a_form_is_read_as_urllib_reads_it(data: bytes) -> None:
    form = Form(data)
    assert form.parameters() == plainly(data)
    assert form.is_exact() is (NOT_EXACT.search(data) is None)
    if form.is_exact():
        assert form.parameters(exactly=True) == plainly(data)
    else:
        assert reason(data, exactly=True) == "unreadable form"


@settings(max_examples=1500)
@given(forms)
def test_the_sorted_text_has_each_pair_once(data: bytes) -> None:
    form = Form(data)
    if form.is_exact() and form.is_signable():
        assert form.sorted_text() == b"".join(name + value for name, value in sorted(set(plainly(data))))


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=9))
def test_what_others_encode_is_exact_and_signable(fields: dict[str, str]) -> None:
    form = Form(urlencode(fields).encode())
    assert form.is_exact()
    assert form.is_signable() or not fields
    assert form.parameters() == [(name.encode(), value.encode()) for name, value in fields.items()]


@pytest.mark.parametrize(
    ("data", "signable"),
    [
        (b"a=1&b=2", True),
        (b"a=", True),
        (b"=", False),
        (b"=1", False),
        (b"a=1&b", False),
        (b"a", False),
        (b"", False),
        (b"a=1&", False),
        (b"&a=1", False),
        (b"a=1=2&b=3", True),
        (b"a=1%3D2&a=3", True),
        (b"a=1=2&a=3", False),
    ],
)
def test_borders_that_a_signature_does_not_show_must_be_in_the_form(data: bytes, signable: bool) -> None:
    assert Form(data).is_signable() is signable


def test_too_many_fields() -> None:
    assert len(Form(b"&".join(b"a%d=" % n for n in range(FORM_FIELDS))).parameters()) == FORM_FIELDS
    assert reason(b"&".join(b"a%d=" % n for n in range(FORM_FIELDS + 1))) == "too many form fields"
    assert reason(b"&" * FORM_FIELDS) == "too many form fields"


def test_too_long_once_it_is_decoded() -> None:
    longest = b"a=" + b"%41" * (FORM_LIMIT_BYTES - 2)
    assert Form(longest).parameters() == [(b"a", b"A" * (FORM_LIMIT_BYTES - 2))]
    assert reason(longest + b"x") == "form too long"
    assert reason(b"&" * (FORM_LIMIT_BYTES + 1)) == "form too long"


@pytest.mark.parametrize("text", ["x" * 1600, "你" * 4096, "👋" * 4096, "+ =&%\r\n" * 585], ids=len)
def test_the_longest_texts_that_providers_send_are_read(text: str) -> None:
    fields = {"Body": text} | {f"Field{n}": "another field, of usual length" for n in range(50)}
    assert dict(Form(urlencode(fields).encode()).parameters())[b"Body"] == text.encode()
