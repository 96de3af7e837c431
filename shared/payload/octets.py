"""What the content of an SMS is written in, and bytes that are written as text."""

import base64
import binascii
import re

_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+")


def encoding_of(dcs: int | None) -> str | None:
    """The alphabet of a data coding scheme (3GPP TS 23.038, 4): gsm7, ucs2 or binary; None for reserved and compressed
    ones."""
    if dcs is None or dcs > 0xFF:
        return None
    group = dcs >> 4
    if group < 0x8:  # general, with or without automatic deletion
        return None if dcs & 0x20 else ("gsm7", "binary", "ucs2", None)[dcs >> 2 & 3]
    if group < 0xC:
        return None
    if group < 0xF:  # message waiting indication
        return "ucs2" if group == 0xE else "gsm7"
    return "binary" if dcs & 0x04 else "gsm7"


def guess_octets(text: str) -> tuple[str | None, str | None]:
    """How bytes in a text seem to be written, `hex` or `base64`, and the bytes in hex; None and None if in neither."""
    if _HEX.fullmatch(text):
        return "hex", text.lower()
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None, None
    if content and base64.b64encode(content).decode() == text:
        return "base64", content.hex()
    return None, None
