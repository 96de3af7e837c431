"""The ways in which encoders write the same parameters into a URL.

A signature may cover a URL that is spelled otherwise than the one that was requested: one encoder leaves a `'` as it
is, and the next makes `%27` of it. Both mean the same parameters in the same order, so the spellings are made from
these; at the speed of C, as a form is read.
"""

import binascii
from collections.abc import Iterable, Iterator
from itertools import compress, product

from shared.payload.form import AND, EQUALS, Form

_VARIED = " :'@(*)!"  # written in two ways each, the most frequent first; a space is `+` or `%20`
_SELDOM = "~,/;?$"
_ALWAYS = frozenset('"#%&+<>[\\]^`{|}')  # as are control characters; letters, digits and `-._` never
_ENCODERS = (  # what each leaves as it is
    "~':@",  # Twilio's, as its users report
    "~!'()*:@,;/?$",  # RFC 3986, 3.4
    "~!'()*",  # encodeURIComponent, ECMA-262
    "~",  # RFC 3986, 2.3
    "*",  # application/x-www-form-urlencoded, URL Standard
)
LIKELY = 2 * len(_ENCODERS)  # that many spellings come first
_CHANGING = frozenset(_VARIED + _SELDOM)
_ESCAPES = {char: b"=%02X" % ord(char) for char in _CHANGING | _ALWAYS}
_NOT_ESCAPED = ((b"=\r\n", b""), (b"=\n", b""), (b"=20", b" "), (b"=2E", b"."), (b"=FF", AND), (b"=FE", EQUALS))
_WRITTEN = bytes.maketrans(b"= " + AND + EQUALS, b"%+&=")


def spellings(form: Form) -> Iterator[bytes]:
    """The form as encoders write it, each spelling once: first as some encoder does, then with any choice of what may
    be escaped, where each character is written in the same way throughout. None of a form that is not exact.
    """
    if not form.is_exact():
        return
    text = _half_escaped(form.marked())
    present = _found(text, _CHANGING)
    seen = set()
    for left in _choices(present):
        if left not in seen:
            seen.add(left)
            yield _escape(text, present - left).translate(_WRITTEN)


def _half_escaped(marked: bytes) -> bytes:
    """With what is escaped in each spelling, as in quoted-printable (RFC 2045, 6.7): with `=` in the place of `%`."""
    text = binascii.b2a_qp(marked, quotetabs=True, istext=False)
    for encoded, meant in _NOT_ESCAPED:
        text = text.replace(encoded, meant)
    return _escape(text, _found(text, _ALWAYS))


def _found(text: bytes, chars: frozenset[str]) -> frozenset[str]:
    return frozenset([char for char in chars if ord(char) in text])


def _choices(present: frozenset[str]) -> Iterator[frozenset[str]]:
    """Which of the characters are left as they are."""
    for left in _ENCODERS:
        yield present.intersection(left)
        yield present.intersection(left + " ")
    varied = [char for char in _VARIED if char in present]
    for choice in product((True, False), repeat=len(varied)):
        yield present.intersection("~").union(compress(varied, choice))


def _escape(text: bytes, chars: Iterable[str]) -> bytes:
    for char in chars:
        text = text.replace(char.encode(), _ESCAPES[char])
    return text
