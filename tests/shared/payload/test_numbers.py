"""Numbers within PostgreSQL's bounds."""

from decimal import Decimal

import pytest

from shared import payload
from tests.shared.payload.support import of


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
