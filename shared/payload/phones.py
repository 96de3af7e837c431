"""Phone numbers, short codes and sender names."""

import re

from shared.source import A2P_MAX_DIGITS

E164_DIGITS = 15  # ITU-T E.164, 6.2.1
_FULL_NUMBER = re.compile(rf"\+[1-9][0-9]{{{A2P_MAX_DIGITS},{E164_DIGITS - 1}}}")


def msisdn(text: str, a2p_max_digits: int) -> str:
    """A phone number in E.164 with `+`, if it is a full one; short codes and names trimmed, else as they are.

    A number is full with more than `a2p_max_digits` digits. A leading space is a `+` that a form has eaten; `00` is
    the international prefix. For providers that document a country code in every full number.
    """
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()):
        return digits
    if text[0] == " ":
        return f"+{digits}"
    subscriber = digits.removeprefix("00")
    if a2p_max_digits < len(subscriber) <= E164_DIGITS and subscriber[0] != "0":
        return f"+{subscriber}"
    return digits


def without_plus(number: str) -> str:
    """A full number as many providers write it, from which `msisdn` makes this one again."""
    return number[1:] if _FULL_NUMBER.fullmatch(number) else number
