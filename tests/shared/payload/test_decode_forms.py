"""Forms and query strings, in any charset."""

import pytest

from shared.payload import Fields
from tests.shared.payload.support import SOURCE, reason


@pytest.mark.parametrize(
    ("charset", "body", "text"),
    [
        ("GBK", b"%C4%E3%BA%C3", "你好"),
        ("gb18030", "你好".encode("gb18030"), "你好"),
        ("iso-8859-1", b"Gr%FC%DFe", "Grüße"),
        ('"windows-1251"', b"%CF%F0%E8%E2%E5%F2", "Привет"),
        ("shift_jis", b"%82%B1%82%F1", "こん"),
        ("utf-8", b"Gr%C3%BC%C3%9Fe", "Grüße"),
    ],
)
def test_a_form_is_read_in_the_charset_that_it_names(charset: str, body: bytes, text: str) -> None:
    kind = f"application/x-www-form-urlencoded; charset={charset}"
    for fields in (
        Fields.from_form(SOURCE, b"x=" + body, "", kind),
        Fields.from_form(SOURCE, b"", "x=" + body.decode("latin-1"), kind) if body.isascii() else None,
    ):
        if fields is not None:
            assert (fields.text("x"), fields.rest(fields.names())) == (text, {})
    named = Fields.from_form(SOURCE, body + b"=1", "", kind)
    assert named.names() == {text}


@pytest.mark.parametrize(
    "charset",
    [
        "",
        "rot13",
        "base64",
        "idna",
        "punycode",
        "unicode_escape",
        "raw_unicode_escape",
        "utf-7",
        "utf-16",
        "cp037",
        "hz",
        "nothing",
        "x" * 99,
    ],
)
def test_a_charset_that_does_not_extend_ascii_is_none(charset: str) -> None:
    fields = Fields.from_form(SOURCE, b"x=%C4%E3&y=a", "", f"application/x-www-form-urlencoded; charset={charset}")
    assert (fields.text("x"), fields.text("y")) == ("\ufffd\ufffd", "a")
    assert fields.rest(fields.names())["notes"] == ["text replaced"]


def test_form_before_query_and_blanks_are_kept() -> None:
    fields = Fields.from_form(SOURCE, b"a=1&b=&c=%E7%89%9B+x\r\n", "a=2&b=3&d=&e")
    assert fields.values == {"a": "1", "b": "3", "c": "牛 x", "d": "", "e": ""}


def test_form_begins_behind_a_byte_order_mark() -> None:
    assert Fields.from_form(SOURCE, b"\xef\xbb\xbfa=1&\xef\xbb\xbfb=2").values == {"a": "1", "\ufeffb": "2"}


@pytest.mark.parametrize("body", [b"x=caf\xe9", b"x=caf%E9", b"caf%E9=", b"x=%ff&y=%ff"])
def test_a_form_that_is_not_utf8_is_replaced_and_noted_once(body: bytes) -> None:
    fields = Fields.from_form(SOURCE, body)
    assert "\ufffd" in "".join([*fields.values, *fields.values.values()])
    assert fields.rest(fields.names())["notes"] == ["text replaced"]


@pytest.mark.parametrize("body", [b"x=100%", b"x=%zz", b"x=%4", b"%=x", b"x=%%41"])
def test_what_is_no_escape_stays_as_it_is(body: bytes) -> None:
    assert "%" in "".join([*Fields.from_form(SOURCE, body).values, *Fields.from_form(SOURCE, body).values.values()])


AMBIGUOUS_FORMS = [
    (b"x=100%", ""), (b"x=%zz", ""), (b"", "x=%4"), (b"x=caf\xe9", ""), (b"x=caf%E9", ""), (b"", "x=%ff"),
    (b"x=\xff", ""), (b"x=%C3&%A9=", ""), (b"x=1&x=2", ""), (b"x=1", "x=2"), (b"x=1&%78=2", ""), (b"x=1", "x=&x=2"),
    (b"x&x=1&y=&y=2", "y=3"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "query"), AMBIGUOUS_FORMS)
def test_a_form_that_readers_read_differently_is_not_read_exactly(body: bytes, query: str) -> None:
    assert Fields.from_form(SOURCE, body, query).values
    assert reason(lambda: Fields.from_form(SOURCE, body, query, exactly=True)) == "unreadable form"


@pytest.mark.parametrize(
    ("body", "query"),
    [(b"", ""), (b"x=1&y=%C3%A9", "z=+"), (b"x=1&x=1", "x=1&x="), (b"\xef\xbb\xbfx=&x=1\r\n", "a&b=&b")],
)
def test_a_form_that_is_read_exactly_says_the_same(body: bytes, query: str) -> None:
    assert Fields.from_form(SOURCE, body, query, exactly=True).values == Fields.from_form(SOURCE, body, query).values
