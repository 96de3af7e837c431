"""Phone numbers, short codes and sender names."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import payload
from tests.shared.payload.support import SOURCE, of


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
