"""What a command shows of private fields: numbers without their middle and no texts, unless `--reveal` asks for all."""

from collections.abc import Mapping
from typing import Any

import msgspec

NUMBERS = frozenset({"sender", "recipient"})
TEXTS = frozenset({"text", "content", "query", "body", "extra", "attachments"})  # raw ones hold numbers too

NUMBER_DIGITS = 7  # from which on digits are a number of a person, not a short code
HIDDEN = "numbers are masked, and texts and raw bytes left out: --reveal shows them"

_BEGINNING, _END = 4, 2  # characters of a number that are shown


def shown(value: Any, reveal: bool) -> Any:
    """Rows, and what holds rows, as dicts and lists, each private field as `private` shows it."""
    match value:
        case msgspec.Struct():
            return shown(msgspec.structs.asdict(value), reveal)
        case Mapping():
            return {name: private(str(name), shown(inner, reveal), reveal) for name, inner in value.items()}
        case list():
            return [shown(inner, reveal) for inner in value]
        case tuple() if hasattr(value, "_asdict"):
            return shown(value._asdict(), reveal)
    return value


def private(name: str, value: Any, reveal: bool) -> Any:
    """The value of a field of this name: of a number its ends, nothing of a text; all of any other."""
    if reveal or value is None:
        return value
    if name in TEXTS:
        return None
    return masked(value) if name in NUMBERS and isinstance(value, str) else value


def masked(address: str) -> str:
    """An address that belongs to a person without its middle; a short code or a company's name as it is."""
    if "@" not in address and sum(character.isdigit() for character in address) < NUMBER_DIGITS:
        return address
    beginning = max(0, min(_BEGINNING, len(address) // 2 - _END))  # at least half of it is left out
    return f"{address[:beginning]}…{address[-_END:]}"
