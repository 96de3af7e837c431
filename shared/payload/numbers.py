"""Numbers, exact and within PostgreSQL's bounds."""

import re
from decimal import Decimal

from shared.errors import Malformed

INTEGER_MAX = 2**31 - 1  # PostgreSQL's integer
SMALLINT_MAX = 2**15 - 1
DECIMAL_DIGITS = 20  # before and after the point
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_NOT_FINITE = re.compile(r"[+-]?(?:s?nan[0-9]*|inf(?:inity)?)", re.IGNORECASE)


def to_decimal(value: object, name: str) -> Decimal | None:
    """The exact number, None if it is not a number. Raises Malformed if it is out of bounds."""
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER.fullmatch(text):
            if _NOT_FINITE.fullmatch(text):
                raise Malformed("number out of range", name)
            return None
        value = Decimal(text)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    number = Decimal(value)
    exponent = number.as_tuple().exponent
    if number.adjusted() >= DECIMAL_DIGITS or not isinstance(exponent, int) or exponent < -DECIMAL_DIGITS:
        raise Malformed("number out of range", name)
    return number
