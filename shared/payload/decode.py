"""JSON and forms, decoded leniently, or exactly where there must be only one way to read them."""

import json
from codecs import BOM_UTF8
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NoReturn

from shared.errors import Malformed
from shared.payload.form import Form
from shared.payload.texts import decode_text

Values = tuple[dict[str, Any], list[str]]  # the fields of a payload, and the notes on how they were read


def read_json(body: bytes, *, exactly: bool = False) -> Values:
    """The members of a JSON object. Raises Malformed; `exactly`, also where readers may differ: for bytes that are not
    UTF-8, a name that is there twice, or a raw control character."""
    notes: list[str] = []
    values = _decode_json(decode_text(body, "utf-8-sig", notes), _exact_decoder if exactly else _decoder)
    if not isinstance(values, dict):
        raise Malformed("not a JSON object", f"the JSON is a {type(values).__name__}")
    if exactly and notes:
        raise Malformed("not JSON", "bytes that are not UTF-8")
    return values, notes


def read_form(body: bytes, query: str = "", *, exactly: bool = False) -> Values:
    """The parameters of a form and of a query string, the form's first. Raises Malformed; `exactly`, also where
    readers may differ: in escapes, bytes that are not UTF-8, or a parameter with two values."""
    body = body.removeprefix(BOM_UTF8)
    forms = [Form(data.strip(b"\r\n")) for data in (body, query.encode("utf-8", "surrogatepass")) if data]
    parameters = [pair for form in forms for pair in form.parameters(exactly=exactly)]
    if exactly:
        _check_that_readers_agree(parameters)
    return read_parameters(parameters)


def read_parameters(parameters: Iterable[tuple[bytes, bytes]]) -> Values:
    """Decoded parameters; of those with one name, the first that is not blank."""
    notes: list[str] = []
    values: dict[str, Any] = {}
    for raw_name, raw_value in parameters:
        name = decode_text(raw_name, "utf-8", notes)
        if not values.get(name):
            values[name] = decode_text(raw_value, "utf-8", notes)
    return values, notes


def _check_that_readers_agree(parameters: list[tuple[bytes, bytes]]) -> None:
    try:
        b"\0".join([part for pair in parameters for part in pair]).decode()
    except UnicodeDecodeError:
        raise Malformed("unreadable form", "bytes that are not UTF-8") from None
    given = {(name, value) for name, value in parameters if value}
    if len({name for name, _ in given}) < len(given):
        raise Malformed("unreadable form", "a parameter with two values")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _refuse_repetition(members: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(members)) < len(members):
        raise Malformed("not JSON", "a name that is there twice")
    return dict(members)


# Not strict: a raw line break or NUL within a string is readable, if wrong.
_decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant, strict=False)
_exact_decoder = json.JSONDecoder(
    parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_refuse_repetition
)


def _decode_json(text: str, decoder: json.JSONDecoder) -> Any:
    text = text.strip(" \t\r\n")
    if not text:
        raise Malformed("empty body")
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        raise Malformed("not JSON", f"{error.msg.removesuffix(' at')} at character {error.pos}") from None
    except RecursionError:
        raise Malformed("not JSON", "nested too deeply") from None
    except (ValueError, ArithmeticError):
        raise Malformed("not JSON", "a number that cannot be read") from None
