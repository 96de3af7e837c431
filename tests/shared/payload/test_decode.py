"""JSON and forms: read leniently, and exactly."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from shared.errors import Malformed
from shared.payload import Fields
from tests.shared.payload.support import SOURCE, reason


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
