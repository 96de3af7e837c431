"""Texts, and what identifies a message."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from shared.errors import Malformed
from shared.payload import Fields
from tests.shared.payload.support import SOURCE, of, reason


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    fields = Fields.from_json(SOURCE, b'{"x":"caf\xe9"}')
    assert fields.text("x") == "caf\ufffd"
    assert fields.rest(fields.names()) == {"notes": ["text replaced"]}


def test_control_characters_within_a_text() -> None:
    fields = Fields.from_json(SOURCE, b'{"x":"a\nb\0c"}')
    assert fields.text("x") == "a\nb\ufffdc"


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


@pytest.mark.parametrize("id", ["a\0", "\ud800", "\ufffd"])  # noqa: PT014 - they differ
def test_an_identity_that_cannot_be_stored_is_malformed(id: str) -> None:
    with pytest.raises(Malformed, match="x unreadable"):
        of(id).identity("x")
