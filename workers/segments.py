"""How many SMS a text takes, and in which alphabet (3GPP TS 23.038, 6.2.1; TS 23.040, 9.2.3.24.1)."""

import re
from collections.abc import Iterable

_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = "\f^{}\\[~]|€"  # each behind an escape: two septets
# What a national language table may have besides (TS 23.038, A.2 and A.3): Turkish, Spanish and Portuguese letters, and
# the scripts of Urdu and of the languages of India.
_NATIONAL = re.compile("[ŞşĞğİıçÁÍÓÚáíóúêãõâôÂÊÔÃÕÀªº∞´`\u0600-\u06ff\u0900-\u0d7f\u200c\u200d]")
_SEPTETS = dict.fromkeys(_BASIC, 1) | dict.fromkeys(_EXTENSION, 2)

# Units in one SMS, and in each part of a long one, whose header takes the space of 6 bytes and a bit of padding.
_GSM7_SEPTETS = (160, 153)
_UCS2_UNITS = (70, 67)


def encoding_of(text: str) -> str:
    """`gsm7` if the default alphabet and its extension table have every character, else `ucs2`."""
    return "gsm7" if _SEPTETS.keys() >= set(text) else "ucs2"


def may_be_gsm7(text: str) -> bool:
    """Whether the default alphabet, or that of a national language, has every character."""
    return all(char in _SEPTETS or _NATIONAL.match(char) for char in text)


def segments_of(text: str, encoding: str) -> int | None:
    """The number of SMS that carry the text; None for an encoding that is not text. An empty text takes one.

    A character of a national language table, which a provider may mean by `gsm7`, counts as one septet.
    """
    if encoding == "gsm7":
        return _count((_SEPTETS.get(char, 1) for char in text), *_GSM7_SEPTETS)
    if encoding == "ucs2":
        return _count((2 if ord(char) > 0xFFFF else 1 for char in text), *_UCS2_UNITS)
    return None


def _count(units: Iterable[int], alone: int, each: int) -> int:
    """How many segments hold the characters, none of which may be torn apart."""
    total, segments, left = 0, 1, each
    for size in units:
        total += size
        if size > left:
            segments, left = segments + 1, each
        left -= size
    return 1 if total <= alone else segments
