"""The lenient readers, one by one."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import payload
from shared.errors import Malformed
from shared.payload import Fields, extra
from shared.payload import fields as payload_fields
from shared.source import Source

SOURCE = Source("fleet", "emnify", timezone=ZoneInfo("Asia/Shanghai"))


def of(value: Any, source: Source = SOURCE) -> Fields:
    return Fields(source, {"x": value})


def reason(read: Any) -> str:
    with pytest.raises(Malformed) as caught:
        read()
    return caught.value.reason


# ---- JSON


def test_json_keeps_numbers_exact() -> None:
    fields = Fields.from_json(SOURCE, b'{"a":123456789012345678901234567890,"b":0.1000000000000000055511151231257827}')
    assert fields.values == {
        "a": 123456789012345678901234567890,
        "b": Decimal("0.1000000000000000055511151231257827"),
    }


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"x":"y"}',
        b' \r\n{"x":"y"}\r\n\t ',
        b'{"x" : "y"}',
    ],
)
def test_json_of_odd_forms(body: bytes) -> None:
    fields = Fields.from_json(SOURCE, body)
    assert (fields.text("x"), fields.rest(fields.names())) == ("y", {})


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (lambda: Fields.from_json(SOURCE, b'{"x":"z","x":"y"}'), "y"),
        (lambda: Fields.from_json(SOURCE, b'{"x":"y","a":[{"b":1,"b":1}]}'), "y"),
        (lambda: Fields.from_form(SOURCE, b"x=y&x=z"), "y"),
        (lambda: Fields.from_form(SOURCE, b"x=y", "x=z"), "y"),
        (lambda: Fields.from_form(SOURCE, b"x=y&x=&x=z&x=z"), "y"),
    ],
)
def test_a_name_with_several_values_is_noted(read: Callable[[], Fields], value: str) -> None:
    fields = read()
    assert fields.text("x") == value
    assert fields.rest(fields.names())["notes"] == ["repeated name"]


def test_a_parameter_that_says_the_same_twice_is_not_noted() -> None:
    fields = Fields.from_form(SOURCE, b"x=y&x=", "x=y")
    assert (fields.text("x"), fields.rest(fields.names())) == ("y", {})


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


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty body"),
        (b" \n", "empty body"),
        (b"\xef\xbb\xbf", "empty body"),
        (b"{", "not JSON"),
        (b"{}{}", "not JSON"),
        (b'{"x":NaN}', "not JSON"),
        (b'{"x":-Infinity}', "not JSON"),
        (b"{'x':1}", "not JSON"),
        (b'{"x":' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"x":1e99999999999999999999}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"x":' * 100_000, "not JSON"),
        (b"\xff\xfe{\0}\0", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'"x"', "not a JSON object"),
    ],
)
def test_json_that_is_none(body: bytes, said: str) -> None:
    assert reason(lambda: Fields.from_json(SOURCE, body)) == said


def test_the_detail_of_a_malformed_json_has_the_place_and_no_text() -> None:
    with pytest.raises(Malformed) as caught:
        Fields.from_json(SOURCE, b'{"payload":"secret text", "to":+3725555555}')
    assert caught.value.detail == "Expecting value at character 31"


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    fields = Fields.from_json(SOURCE, b'{"x":"caf\xe9"}')
    assert fields.text("x") == "caf\ufffd"
    assert fields.rest(fields.names()) == {"notes": ["text replaced"]}


def test_control_characters_within_a_text() -> None:
    fields = Fields.from_json(SOURCE, b'{"x":"a\nb\0c"}')
    assert fields.text("x") == "a\nb\ufffdc"


# ---- forms


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


@pytest.mark.parametrize(
    "body",
    [
        b'{"x":1,"x":1}',
        b'{"y":[{"x":1,"x":2}]}',
        b'{"x":1,"\\u0078":2}',
        b'{"x":"caf\xe9"}',
        b'{"x":"a\nb"}',
        b'{"x\x1f":1}',
    ],
)
def test_json_that_readers_read_differently_is_not_read_exactly(body: bytes) -> None:
    assert Fields.from_json(SOURCE, body).values
    assert reason(lambda: Fields.from_json(SOURCE, body, exactly=True)) == "not JSON"
    assert Fields.from_json(SOURCE, b'{"x":{"x":1}}', exactly=True).values == {"x": {"x": 1}}


# ---- texts and identities


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        (" x ", " x "),
        ("", ""),
        (12345678901234567890, "12345678901234567890"),
        (Decimal("5.0"), "5"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E+999999"), "1E+999999"),
        (Decimal("0.50"), "0.50"),
        ("\ud83d\udc4b", "\ufffd\ufffd"),
        ("👋🏽‍ مرحبا e\u0301", "👋🏽‍ مرحبا e\u0301"),
        (None, None),
        (True, None),
        ({}, None),
        ([], None),
    ],
)
def test_text(value: object, text: str | None) -> None:
    assert of(value).text("x") == text


def test_the_first_name_that_is_there() -> None:
    fields = Fields(SOURCE, {"a": None, "b": "2", "c": "3"})
    assert fields.text("a", "b", "c") == "2"
    assert fields.rest(fields.names()) == {"c": "3"}


@pytest.mark.parametrize("value", [None, "", "  ", "\t\n", {}, [], False])
def test_no_identity(value: object) -> None:
    assert reason(lambda: of(value).identity("x")) == "no x"


def test_identity_has_a_limit() -> None:
    assert of(" " + "i" * 255 + " ").identity("x") == "i" * 255
    assert reason(lambda: of("i" * 256).identity("x")) == "x too long"
    assert reason(lambda: of(10**300).identity("x")) == "x too long"


@pytest.mark.parametrize("reader", [Fields.word, Fields.phone])
def test_what_is_too_long_for_its_column_is_kept_in_extra(reader: Callable[..., str | None]) -> None:
    fields = of("1" * 256)
    assert reader(fields, "x") is None
    assert fields.rest({"x"}) == {"x": "1" * 256, "notes": ["text too long"]}


def test_what_distinguishes_events_may_be_missing_but_not_cut() -> None:
    assert of(None).distinction("x") is None
    assert of(" ").distinction("x") is None
    assert reason(lambda: of("1" * 256).distinction("x")) == "x too long"
    assert reason(lambda: of("a\0").distinction("x")) == "x unreadable"


# ---- numbers


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0),
        ("0", 0),
        (" 007 ", 7),
        ("+7", 7),
        (Decimal("7.0"), 7),
        ("7.00", 7),
        ("7e2", 700),
        (2**31 - 1, 2**31 - 1),
        (None, None),
        ("", None),
        ("x", None),
        ("1_000", None),
        ("１", None),
        ("1,5", None),
        ("1.5", None),
        (True, None),
        ({}, None),
    ],
)
def test_integer(value: object, number: int | None) -> None:
    fields = of(value)
    assert fields.integer("x") == number
    rest = fields.rest(fields.names())
    assert rest.get("notes", []) == (["unreadable number"] if number is None and value not in (None, "") else [])
    assert ("x" in rest) == (number is None and value is not None), "what cannot be read is kept"


@pytest.mark.parametrize(
    "value", [-1, "-1", 2**31, "2147483648", 10**20, 10**4000, "1e20", "NaN", "inf", "-Infinity", Decimal("1E+999999")]
)
def test_integer_out_of_range(value: object) -> None:
    fields = of(value)
    assert fields.integer("x") is None
    assert fields.rest({"x"}).keys() == {"x", "notes"}
    assert fields.rest({"x"})["notes"] == ["number out of range"]


def test_integer_within_its_own_bound() -> None:
    assert of(32767).integer("x", payload.SMALLINT_MAX) == 32767
    assert of(32768).integer("x", payload.SMALLINT_MAX) is None


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("0.0450", "0.0450"),
        (Decimal("0.045"), "0.045"),
        (1, "1"),
        ("-.5", "-.5"),
        ("9" * 20, "9" * 20),
        ("0." + "0" * 19 + "1", "0." + "0" * 19 + "1"),
    ],
)
def test_decimal(value: object, number: str) -> None:
    assert str(of(value).decimal("x")) == str(Decimal(number))


@pytest.mark.parametrize("value", ["9" * 21, "1e20", "1e-21", "nan", "sNaN1", "Infinity", Decimal("1E-999999")])
def test_decimal_out_of_range(value: object) -> None:
    fields = of(value)
    assert fields.decimal("x") is None
    assert fields.rest({"x"})["notes"] == ["number out of range"]


# ---- times


@pytest.mark.parametrize(
    ("text", "time", "exact"),
    [
        ("2021-02-26 10:01:15", datetime(2021, 2, 26, 2, 1, 15, tzinfo=UTC), False),
        ("2021-02-26T10:01:15.5", datetime(2021, 2, 26, 2, 1, 15, 500_000, tzinfo=UTC), False),
        ("2021-02-26T10:01", datetime(2021, 2, 26, 2, 1, tzinfo=UTC), False),
        ("2021-02-26T10:01:15Z", datetime(2021, 2, 26, 10, 1, 15, tzinfo=UTC), True),
        ("2021-02-26 10:01:15.123456789 +05:30", datetime(2021, 2, 26, 4, 31, 15, 123_456, tzinfo=UTC), True),
        (" 2021-02-26t10:01:15-0300 ", datetime(2021, 2, 26, 13, 1, 15, tzinfo=UTC), True),
        ("2021-02-26T10:01:15+08", datetime(2021, 2, 26, 2, 1, 15, tzinfo=UTC), True),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC), True),
    ],
)
def test_time(text: str, time: datetime, exact: bool) -> None:
    fields = of(text)
    found = fields.time("x")
    assert (found, found and found.tzinfo) == (time, UTC)
    assert fields.rest(fields.names()) == ({} if exact else {"x": text}), "a time without a zone is kept as it was sent"


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        0,
        1614304875,
        True,
        "yesterday",
        "0000-00-00 00:00:00",
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59-23:59",
        "9999-01-01T00:00:00Z",
        "2021-02-30 10:01:15",
        "2021-02-26 25:01:15",
        "2021-02-26 10:01:60",
        "2021-02-26T10:01:15+99:99",
        "2021-02-26T10:01:15+24:00",
        "2021-W08-5",
        "２０２１-02-26 10:01:15",
        "2021-02-26 10:01:15¤cy=USD",
    ],
)
def test_time_that_is_none(value: object) -> None:
    fields = of(value)
    assert fields.time("x") is None
    assert fields.rest(fields.names()) == {"x": value, "notes": ["unreadable time"]}


@pytest.mark.parametrize("value", [None, ""])
def test_no_time(value: object) -> None:
    fields = of(value)
    assert fields.time("x") is None
    assert "notes" not in fields.rest(fields.names())


# ---- phone numbers


@pytest.mark.parametrize(
    ("sent", "number"),
    [
        ("432311234", "+432311234"),
        (432311234, "+432311234"),
        ("+432311234", "+432311234"),
        (" 6282167624806 ", "+6282167624806"),
        ("006282167624806", "+6282167624806"),
        ("123456789012345", "+123456789012345"),
        ("12345678", "12345678"),
        ("0012345", "0012345"),
        ("1234567890123456", "1234567890123456"),  # no E.164: an ICCID, perhaps
        ("0612345678", "0612345678"),  # a national number
        ("MySender", "MySender"),
        ("\tCafé 24 ", "Café 24"),
        ("+1 (555) 0100", "+1 (555) 0100"),
        ("４３２３１１２３４", "４３２３１１２３４"),
        ("", None),
        ("  ", None),
        (None, None),
    ],
)
def test_phone(sent: object, number: str | None) -> None:
    assert of(sent).phone("x") == number


@pytest.mark.parametrize(("digits", "number"), [(7, "+12345678"), (8, "12345678"), (0, "+12345678"), (20, "12345678")])
def test_what_is_a_full_number_is_the_sources_choice(digits: int, number: str) -> None:
    assert of("12345678", replace(SOURCE, a2p_max_digits=digits)).phone("x") == number


@given(st.text())
def test_msisdn_is_stable(text: str) -> None:
    once = payload.msisdn(text, 8)
    assert payload.msisdn(once, 8) == once


@given(st.from_regex(r"\A\+?[0-9]{0,20}\Z"))
def test_without_plus_is_undone_by_msisdn(number: str) -> None:
    if payload.without_plus(number) != number:
        assert payload.msisdn(payload.without_plus(number), 8) == number


# ---- what is left


def test_rest_is_safe_for_jsonb() -> None:
    fields = of({"a\0": ["\ud800", 2**63, -(2**63), Decimal("1.50"), True, None], "b": 2**63 - 1})
    assert fields.rest(fields.names()) == {
        "x": {"a\ufffd": ["\ufffd", "9223372036854775808", -(2**63), "1.50", True, None], "b": 2**63 - 1},
        "notes": ["text replaced"],
    }


def test_rest_is_bounded_in_depth() -> None:
    deep: Any = "end"
    for _ in range(500):
        deep = [deep]
    fields = of(deep)
    rest = fields.rest(fields.names())
    assert rest["notes"] == ["extra cut"]
    assert json.dumps(rest["x"]).count("[") == extra.EXTRA_DEPTH + 1


def test_rest_is_bounded_in_size() -> None:
    fields = of([["y"] * 100_000, "z" * 100_000])
    rest = fields.rest(fields.names())
    assert rest["notes"] == ["extra cut"]
    assert len(json.dumps(rest)) < 10 * extra.EXTRA_VALUES
    long = of("z" * 100_000).rest({"x"})
    assert long == {"x": "z" * extra.EXTRA_TEXT_CHARS, "notes": ["extra cut"]}


def test_a_field_called_notes_does_not_hide_ours() -> None:
    fields = Fields(SOURCE, {"notes": "theirs"})
    fields.note("ours")
    fields.note("ours")
    assert fields.rest(fields.names()) == {"sent_notes": "theirs", "notes": ["ours"]}


def test_groups_stay_whole_and_share_the_notes() -> None:
    fields = of({"id": "5\0"})
    assert fields.group("x").word("id") == "5\ufffd"
    assert fields.rest(fields.names()) == {"x": {"id": "5\ufffd"}, "notes": ["text replaced"]}
    assert of("5").group("x").names() == set()


def test_groups_inherit_what_they_lack() -> None:
    fields = Fields(SOURCE, {"to": "1", "id": "outer", "list": [{"id": "a"}, 7]})
    assert [group.values for group in fields.groups("list", {"to", "id"})] == [
        {"to": "1", "id": "a"},
        {"to": "1", "id": "outer"},
    ]


def test_ours_are_added_where_there_is_something() -> None:
    fields = Fields(SOURCE, {"a": "1", "b": None, "c": "3"})
    fields.text("a")
    fields.text("c")
    assert fields.rest(fields.names(), "c", ours=1, not_ours=None) == {"c": "3", "ours": 1}


def test_what_objects_in_a_list_take_over_is_bounded() -> None:
    outer = {"to": "+1", "channel": "sms", "long": "y" * 4096, "deep": [1], "object": {}, "other": 1}
    inherited = outer.keys() - {"other"}
    (fields,) = Fields(SOURCE, {**outer, "statuses": [{"a": 1, "channel": "viber"}]}).groups("statuses", inherited)
    assert fields.values == {"a": 1, "channel": "viber", "to": "+1"}


def test_more_objects_than_one_callback_can_mean_are_malformed() -> None:
    with pytest.raises(Malformed, match="too many statuses"):
        Fields(SOURCE, {"statuses": [0] * (payload_fields.GROUPS + 1)}).groups("statuses", set())


@pytest.mark.parametrize("id", ["a\0", "\ud800", "\ufffd"])  # noqa: PT014 - they differ
def test_an_identity_that_cannot_be_stored_is_malformed(id: str) -> None:
    with pytest.raises(Malformed, match="x unreadable"):
        of(id).identity("x")
