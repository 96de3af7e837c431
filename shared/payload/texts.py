"""Texts: bytes decoded leniently, and made safe for PostgreSQL."""

import re
from decimal import Decimal

from shared.payload.notes import TEXT_REPLACED
from shared.payload.numbers import DECIMAL_DIGITS

SHORT_TEXT_CHARS = 255  # ids, addresses, status words: what is in an index or a key

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """The text without NUL and lone surrogates, which PostgreSQL's text and jsonb refuse: U+FFFD instead."""
    if text.isascii() and "\0" not in text:  # nearly always, and quickly seen
        return text
    return _UNSTORABLE.sub("\ufffd", text)


def decode_text(data: bytes, encoding: str, notes: list[str]) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        if TEXT_REPLACED not in notes:
            notes.append(TEXT_REPLACED)
        return data.decode(encoding, "replace")


def scalar(value: object) -> str | None:
    """A text or number as text, a whole number without a fraction; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return None
    if isinstance(value, Decimal) and value.adjusted() <= DECIMAL_DIGITS and value == value.to_integral_value():
        return str(int(value))
    return str(value) if isinstance(value, int | Decimal) else None
