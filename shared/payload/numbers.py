"""Numbers, exact and within PostgreSQL's bounds."""

import re
from decimal import Decimal

INTEGER_MAX = 2**31 - 1  # PostgreSQL's integer
SMALLINT_MAX = 2**15 - 1
DECIMAL_DIGITS = 20  # before and after the point
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_NOT_FINITE = re.compile(r"[+-]?(?:s?nan[0-9]*|inf(?:inity)?)", re.IGNORECASE)


def to_decimal(value: object) -> Decimal | None:
    """The exact number, None if it is not a number. Raises OverflowError if it is not finite or has too many digits."""
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER.fullmatch(text):
            if _NOT_FINITE.fullmatch(text):
                raise OverflowError
            return None
        value = Decimal(text)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    number = Decimal(value)
    exponent = number.as_tuple().exponent
    if number.adjusted() >= DECIMAL_DIGITS or not isinstance(exponent, int) or exponent < -DECIMAL_DIGITS:
        raise OverflowError
    return number
