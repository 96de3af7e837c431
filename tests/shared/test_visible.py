import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.visible import visible

DRAWN = "؀؁؂؃؄؅۝܏࢐࢑࣢\U000110bd\U000110cd"  # format characters that are drawn
JOINERS = "\u200c\u200d"
INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"  # letters and marks for which nothing is drawn
ANY = st.text(st.characters(exclude_categories=()))  # lone surrogates too


def is_unsafe(char: str) -> bool:
    """By Unicode's categories: control, format, surrogate, line or paragraph separator."""
    if char in DRAWN + JOINERS:
        return False
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") or char in INVISIBLE


def test_every_unsafe_character_of_unicode_is_spelled_and_hardly_any_other() -> None:
    spelled = {char for char in map(chr, range(sys.maxunicode + 1)) if visible(char) != char}
    assert {char for char in map(chr, range(sys.maxunicode + 1)) if is_unsafe(char)} <= spelled
    rest = {char for char in spelled if not is_unsafe(char)}
    assert all(unicodedata.category(char) == "Cn" or "\U000e0100" <= char <= "\U000e01ef" for char in rest)


@given(ANY)
def test_nothing_unsafe_remains_and_nothing_else_changes(text: str) -> None:
    shown = visible(text)
    assert not [char for char in shown if is_unsafe(char)]
    assert shown.encode("utf-8").decode() == shown
    assert visible(shown) == shown
    assert shown == "".join(map(visible, text))


@given(ANY)
def test_with_backslashes_doubled_the_text_can_be_read_back(text: str) -> None:
    shown = visible(text.replace("\\", "\\\\"))
    ascii_only = "".join(char if char.isascii() else f"\\U{ord(char):08x}" for char in shown)
    assert ascii_only.encode().decode("unicode_escape") == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("a\r\nb\tc\0", r"a\r\nb\tc\x00"),
        ("\x7f\x80\x9b31m\x9f", r"\x7f\x80\x9b31m\x9f"),
        ("\u061c\u200e\u200f\u202a\u202e\u2066\u2069", r"\u061c\u200e\u200f\u202a\u202e\u2066\u2069"),
        ("\u2028\u2029\x85\v\f", r"\u2028\u2029\x85\x0b\x0c"),
        ("\ud800\udcff\ufeff\u200b\u2060\xad", r"\ud800\udcff\ufeff\u200b\u2060\xad"),
        ("\U000e0001\U000e0041\U000e0100", r"\U000e0001\U000e0041\U000e0100"),
    ],
)
def test_spellings(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Danke, passt so 👍🏽",
        "👨\u200d👩\u200d👧\u200d👦 ❤\ufe0f 1\ufe0f\u20e3 🇩🇪",
        "שלום, مرحبا, نمی\u200cخواهم",
        "e\u0301 क्\u200dष ไม่ 你好 한국어",
        "no\xa0break, 　wide space",
        r"C:\new ¯\_(ツ)_/¯",
        "\ufffd",
    ],
)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert visible(text) == text
