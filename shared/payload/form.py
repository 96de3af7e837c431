"""The parameters of a form or of a query string (`application/x-www-form-urlencoded`), read at the speed of C.

Signatures may cover parameters instead of bytes, so a form is read before anything is proven: that must not cost more
than a few times the hash of the same bytes. `urllib.parse` decodes each escape in Python, which takes a hundred times
as long. Here a whole form is decoded by one call, with its separators marked by two bytes that UTF-8 never has.
"""

import binascii
from itertools import groupby
from urllib.parse import unquote_to_bytes

from shared.errors import Malformed

FORM_FIELDS = 64  # Twilio, which has the most, sends up to some 60
FORM_LIMIT_BYTES = 18 * 1024  # of names and values, decoded: a text of 4,096 characters and 2 KiB beside it

AND, EQUALS = b"\xff", b"\xfe"  # no byte of UTF-8
# The escapes of a form become those of quoted-printable (RFC 2045, 6.7), for which Python has a decoder in C.
_AS_QUOTED_PRINTABLE = bytes.maketrans(b"&=%+", AND + EQUALS + b"= ")
_MARKED = bytes.maketrans(b"&=+", AND + EQUALS + b" ")
_EQUALS_AGAIN = bytes.maketrans(EQUALS, b"=")


class Form:
    """A form, decoded. Raises Malformed when it has more than FORM_FIELDS fields or FORM_LIMIT_BYTES.

    It is *exact* if there is only one way to read it: each `%` begins an escape, and it has no byte that UTF-8 never
    has. A form that is not exact is refused, or read more slowly.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._decoded = _decoded(data)
        if len(self._decoded) > FORM_LIMIT_BYTES:
            raise Malformed("form too long", f"more than {FORM_LIMIT_BYTES} bytes")
        self._parts = self._decoded.split(AND, FORM_FIELDS)
        if len(self._parts) > FORM_FIELDS:
            raise Malformed("too many form fields", f"more than {FORM_FIELDS}")

    def is_exact(self) -> bool:
        data, decoded = self._data, self._decoded
        return (
            len(data) - len(decoded) == 2 * data.count(b"%")
            and decoded.count(AND) == data.count(b"&")
            and decoded.count(EQUALS) == data.count(b"=")
            # Soft line breaks of quoted-printable shorten the text as escapes do.
            and b"%\n" not in data
            and b"%\r" not in data
        )

    def marked(self) -> bytes:
        """The form decoded, with AND between its fields and EQUALS between each name and value; of a form that is not
        exact, anything."""
        if self._decoded.count(EQUALS) == len(self._parts) and all(EQUALS in part for part in self._parts):
            return self._decoded
        fields = [part.partition(EQUALS) for part in self._parts if part]
        return AND.join([name + EQUALS + value.translate(_EQUALS_AGAIN) for name, _, value in fields])

    def sorted_text(self) -> bytes:
        """Names and values with nothing between, sorted, each pair once; of a form that is not exact, anything.

        A signature over this text is checked first, and whether the form is exact afterwards: so refusing is cheap.
        """
        fields = sorted([part.partition(EQUALS) for part in self._parts if part])
        text = b"".join([name + value for (name, _, value), _ in groupby(fields)])
        return text.translate(_EQUALS_AGAIN) if EQUALS in text else text

    def parameters(self, *, exactly: bool = False) -> list[tuple[bytes, bytes]]:
        """Names and values, in their order; of a form that is not exact, what is no escape stays as it is.

        Raises Malformed if the form must be exact and is not.
        """
        if self.is_exact():
            fields = [part.partition(EQUALS) for part in self._parts if part]
            return [(name, value.translate(_EQUALS_AGAIN)) for name, _, value in fields]
        if exactly:
            raise Malformed("unreadable form", "a % that begins no escape, or bytes that are not UTF-8")
        pairs = [part.replace(b"+", b" ").partition(b"=") for part in self._data.split(b"&") if part]
        return [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in pairs]

    def is_signable(self) -> bool:
        """Whether `sorted_text` is what a signer makes of these parameters.

        Each field must have a name, and a `=`, for nothing else shows where the name ends; and if a value has a `=`
        that is not encoded, no name may be repeated, for such a `=` is sorted as another character.
        """
        fields = [part.partition(EQUALS) for part in self._parts]
        if not all(name and equals for name, equals, _ in fields):
            return False
        return self._decoded.count(EQUALS) == len(fields) or len({name for name, _, _ in fields}) == len(fields)


def _decoded(data: bytes) -> bytes:
    """The form with its escapes decoded and its separators marked; of one that is not exact, anything."""
    if b"%" not in data:
        return data.translate(_MARKED)
    return binascii.a2b_qp(data.translate(_AS_QUOTED_PRINTABLE))
