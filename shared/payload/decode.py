"""JSON and forms, decoded leniently, or exactly where there must be only one way to read them."""

import json
import re
import threading
from codecs import BOM_UTF8, lookup
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, NoReturn

from shared.errors import Malformed
from shared.payload.form import Form
from shared.payload.notes import REPEATED
from shared.payload.texts import decode_text

_CHARSET = re.compile(r"(?i);\s*charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,40})")
_ESCAPED = {"idna", "punycode", "unicode-escape", "raw-unicode-escape"}  # ASCII that means something else
_ASCII = bytes(range(0x20, 0x7F))
Values = tuple[dict[str, Any], list[str]]  # the fields of a payload, and the notes on how they were read


def read_json(body: bytes, *, exactly: bool = False) -> Values:
    """The members of a JSON object; of those with one name, the last, with a note. Raises Malformed; `exactly`, also
    where readers may differ: for bytes that are not UTF-8, a name that is there twice, or a raw control character."""
    notes: list[str] = []
    text = decode_text(body.removeprefix(BOM_UTF8), "utf-8", notes)
    values, repeats = (_exact if exactly else _lenient).read(text)
    if not isinstance(values, dict):
        raise Malformed("not a JSON object", f"the JSON is a {type(values).__name__}")
    if exactly and (notes or repeats):
        raise Malformed("not JSON", "bytes that are not UTF-8" if notes else "a name that is there twice")
    return values, [*notes, REPEATED] if repeats else notes


def read_form(body: bytes, query: str = "", content_type: str = "", *, exactly: bool = False) -> Values:
    """The parameters of a form and of a query string, the form's first, in the charset that the content type names.
    Raises Malformed; `exactly`, also where readers may differ: in escapes, bytes that are not of the charset, or a
    parameter with two values."""
    charset = charset_in(content_type)
    body = body.removeprefix(BOM_UTF8)
    forms = [Form(data.strip(b"\r\n")) for data in (body, query.encode("utf-8", "surrogatepass")) if data]
    parameters = [pair for form in forms for pair in form.parameters(exactly=exactly)]
    if exactly:
        _check_that_readers_agree(parameters, charset)
    return read_parameters(parameters, charset)


def read_parameters(parameters: Iterable[tuple[bytes, bytes]], charset: str = "utf-8") -> Values:
    """Decoded parameters; of several values of one name the first that is not blank, with a note."""
    notes: list[str] = []
    values: dict[str, Any] = {}
    for raw_name, raw_value in parameters:
        name, value = decode_text(raw_name, charset, notes), decode_text(raw_value, charset, notes)
        kept = values.setdefault(name, value)
        if not kept:
            values[name] = value
        elif value and value != kept and REPEATED not in notes:
            notes.append(REPEATED)
    return values, notes


def charset_in(content_type: str) -> str:
    """The charset that a content type names, if it is one of Python's that extend ASCII; else UTF-8.

    A form is split at ASCII characters before its names and values are decoded.
    """
    found = _CHARSET.search(content_type)
    try:
        if found and lookup(found[1]).name not in _ESCAPED and _ASCII.decode(found[1]) == _ASCII.decode():
            return found[1]
    except (LookupError, ValueError):
        pass
    return "utf-8"


def _check_that_readers_agree(parameters: list[tuple[bytes, bytes]], charset: str) -> None:
    try:
        b"\0".join([part for pair in parameters for part in pair]).decode(charset)
    except UnicodeDecodeError:
        raise Malformed("unreadable form", "bytes that are not of its charset") from None
    given = {(name, value) for name, value in parameters if value}
    if len({name for name, _ in given}) < len(given):
        raise Malformed("unreadable form", "a parameter with two values")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


class _Reader(threading.local):
    """A decoder of JSON that counts names which an object has twice."""

    def __init__(self, strict: bool) -> None:
        self._repeats = 0
        self._decode = json.JSONDecoder(
            parse_float=Decimal, parse_constant=_refuse_constant, strict=strict, object_pairs_hook=self._members
        ).decode

    def read(self, text: str) -> tuple[Any, int]:
        """The value, and how many names were repeated. Raises Malformed."""
        self._repeats = 0
        return _decode_json(text, self._decode), self._repeats

    def _members(self, members: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(members)
        self._repeats += len(members) - len(values)
        return values


_lenient = _Reader(strict=False)  # a raw line break or NUL within a string is readable, if wrong
_exact = _Reader(strict=True)


def _decode_json(text: str, decode: Callable[[str], Any]) -> Any:
    text = text.strip(" \t\r\n")
    if not text:
        raise Malformed("empty body")
    try:
        return decode(text)
    except json.JSONDecodeError as error:
        raise Malformed("not JSON", f"{error.msg.removesuffix(' at')} at character {error.pos}") from None
    except RecursionError:
        raise Malformed("not JSON", "nested too deeply") from None
    except (ValueError, ArithmeticError):
        raise Malformed("not JSON", "a number that cannot be read") from None
