"""Requests made of other requests: what means the same in another spelling, and what means no good."""

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import isfinite
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, urlencode

from msgspec.structs import asdict, replace

from shared.callback import Arrival
from shared.errors import Malformed
from shared.events import Event
from shared.providers import PROVIDERS

Path = tuple[str | int, ...]
Found = list[Event | Malformed]

_RUN_BYTES = 16 * 1024
_NUMBER = re.compile(r"0|[1-9][0-9]{0,30}|(?:0|[1-9][0-9]{0,8})\.[0-9]{0,3}[1-9]")
_FULL_NUMBER = re.compile(r"\+[1-9][0-9]{8,14}")
_CONTENT_TYPES = [
    "", "text/plain", "application/json", "application/x-www-form-urlencoded", "application/octet-stream",
    "multipart/form-data; boundary=x", "x-www-form-urlencoded", ";;;", "\xff", "application/json; charset=utf-16",
]  # fmt: skip

STORABLE_TEXTS = [
    "👩🏽‍🚀🇨🇭👋🏿",
    "שלום \u202eمرحبا\u202c \u200f.",
    "e\u0301 Z\u0321\u0328\u0327 क्षि",
    "\U0010ffff\ufffe\U000e0001𝕏",
    "a\x01\t\r\n\x1b\x7f\x85\u2028|",
    r"\u0000 \x00 %00 &amp; &#0; ${x} %s {0} '; --",
    '{"a":[1]}&b=2;c="',
    "x" * 16_000,
]
TEXTS = [*STORABLE_TEXTS, "a\0b", "\0", "\ud800", "\ud800a\udfff\udc00"]
VALUES: list[Any] = [
    None, True, False, "", " ", "+", " +", "%", "-0", "null", "NaN", "-Infinity", "1e9999", "٣", "２０２４",
    "9" * 4000, "-" * 300,
    "x" * 255, "x" * 256, "¤cy=¤cy=", "0001-01-01 00:00:00", "9999-12-31T23:59:59-23:59", "2024-02-30 25:61:61",
    -1, 0, 2**15, 2**31, 2**63, 10**30, 1.5, 1e300, float("inf"), [], {}, [[]], [None], [{}], {"": ""},
    {"\0": "\ud800"}, {"id": {"id": {"id": None}}}, list(range(3000)), {str(n): n for n in range(3000)},
    json.loads('{"a":[' * 90 + "]}" * 90),
]  # fmt: skip


class Document(NamedTuple):
    """The fields of a callback, and where they are written in it."""

    callback: Arrival
    place: Literal["json", "form", "query"]
    fields: dict[str, Any]

    def write(self, fields: dict[str, Any], encode: Callable[[Any], str] | None = None) -> Arrival:
        """The callback with these fields instead, written by `encode`."""
        encode = encode or (json.dumps if self.place == "json" else _form)
        if self.place == "query":
            return replace(self.callback, query=encode(fields))
        return replace(self.callback, body=encode(fields).encode())


def documents(callback: Arrival) -> Iterator[Document]:
    """What can be read in the body and in the query, one by one; no form that says a name twice, which has no order."""
    try:
        value = json.loads(callback.body.decode("utf-8-sig"))
        if isinstance(value, dict):
            yield Document(callback, "json", value)
        forms: dict[Literal["form", "query"], str] = {"query": callback.query}
    except ValueError:
        forms = {"form": callback.body.decode("utf-8", "replace"), "query": callback.query}
    for place, text in forms.items():
        pairs = parse_qsl(text, keep_blank_values=True)
        if pairs and len(pairs) == len(dict(pairs)):
            yield Document(callback, place, dict(pairs))


def _form(fields: dict[str, Any]) -> str:
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    return urlencode(texts, errors="surrogatepass")


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """The way to every member and element, outermost first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield (*path, key)
        yield from paths(below, (*path, key))


def at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def put(value: Any, path: Path, new: Any) -> Any:
    """A copy with another value there."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


def _without(value: Any, path: Path) -> Any:
    above = at(value, path[:-1])
    left = (key for key in (above if isinstance(above, dict) else range(len(above))) if key != path[-1])
    return put(
        value, path[:-1], {key: above[key] for key in left} if isinstance(above, dict) else [above[n] for n in left]
    )


# ---- other spellings of the same


def reordered(document: Document, found: Found) -> Iterator[Arrival]:
    dice = random.Random(7)
    for arrange in (reversed, *3 * [lambda members: dice.sample(members, len(members))]):
        yield document.write(_rearranged(document.fields, arrange))


def _rearranged(value: Any, arrange: Callable[[list[Any]], Iterable[Any]]) -> Any:
    if isinstance(value, dict):
        return dict(arrange([(name, _rearranged(inner, arrange)) for name, inner in value.items()]))
    return [_rearranged(inner, arrange) for inner in value] if isinstance(value, list) else value


def said_twice(document: Document, found: Found) -> Iterator[Arrival]:
    if document.fields:
        yield document.write(
            document.fields, _twice if document.place == "json" else lambda text: f"{_form(text)}&{_form(text)}"
        )


def _twice(value: Any) -> str:
    if isinstance(value, dict) and value:
        members = ",".join(f"{json.dumps(name)}:{_twice(inner)}" for name, inner in value.items())
        return f"{{{members},{members}}}"
    return f"[{','.join(map(_twice, value))}]" if isinstance(value, list) else json.dumps(value)


def enveloped(document: Document, found: Found) -> Iterator[Arrival]:
    """JSON with a byte order mark and white space around, and everything under any content type or none."""
    own = document.write(document.fields)
    if document.place == "json":
        yield replace(own, body=b" \t\r\n" + own.body + b"\r\n\t ")
        yield replace(own, body=b"\xef\xbb\xbf" + own.body)
    headers = {name: value for name, value in own.headers.items() if name != "content-type"}
    yield replace(own, headers=headers)
    for type_ in _CONTENT_TYPES:
        yield replace(own, headers={**headers, "content-type": type_})


def percent_encoded(document: Document, found: Found) -> Iterator[Arrival]:
    if document.place != "json":
        for digits in ("%%%02X", "%%%02x"):
            yield document.write(document.fields, partial(_percent, digits=digits))
        yield document.write(document.fields, lambda fields: _form(fields).replace("+", "%20"))


def _percent(fields: dict[str, str], digits: str) -> str:
    def every_byte(text: str) -> str:
        return "".join(digits % byte for byte in text.encode())

    return "&".join(f"{every_byte(name)}={every_byte(value)}" for name, value in fields.items())


def escaped(document: Document, found: Found) -> Iterator[Arrival]:
    """JSON with every character of a text escaped, or none, and with white space between all tokens."""
    if document.place == "json":
        yield document.write(document.fields, lambda fields: json.dumps(fields, indent="\t\r\n "))
        yield document.write(document.fields, _escaped)
        if not re.search("[\ud800-\udfff]", plain := json.dumps(document.fields, ensure_ascii=False)):
            yield document.write(document.fields, lambda _: plain)


def _escaped(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_escaped(name)}:{_escaped(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return f"[{','.join(map(_escaped, value))}]"
    if not isinstance(value, str):
        return json.dumps(value)
    units = value.encode("utf-16-be", "surrogatepass").hex()
    return '"' + "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4)) + '"'


def numbers_as_texts(document: Document, found: Found) -> Iterator[Arrival]:
    yield from _leaves_changed(
        document, lambda value: json.dumps(value) if type(value) in (int, float) and isfinite(value) else value
    )


def texts_as_numbers(document: Document, found: Found) -> Iterator[Arrival]:
    if document.place == "json":
        yield from _leaves_changed(
            document, lambda value: json.loads(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value
        )


def whole_numbers_with_a_point(document: Document, found: Found) -> Iterator[Arrival]:
    yield from _leaves_changed(document, lambda value: float(value) if type(value) is int and value < 2**53 else value)


def _leaves_changed(document: Document, change: Callable[[Any], Any]) -> Iterator[Arrival]:
    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: changed(inner) for name, inner in value.items()}
        return [changed(inner) for inner in value] if isinstance(value, list) else change(value)

    fields = changed(document.fields)
    if json.dumps(fields) != json.dumps(document.fields):
        yield document.write(fields)


def phones_with_other_prefixes(document: Document, found: Found) -> Iterator[Arrival]:
    """In a form a space is written as `+`, and `+` as `%2B`."""
    events = [asdict(event) for event in found if not isinstance(event, Malformed)]
    numbers = {event[name] for event in events for name in ("sender", "recipient") if event[name]}
    for number in filter(_FULL_NUMBER.fullmatch, sorted(numbers)):
        for path in paths(document.fields):
            if re.sub(r"^\s*(\+|00)?", "", str(at(document.fields, path))) == number[1:]:
                for prefix in ("+", " ", "00", "", " +", "\t"):
                    yield document.write(put(document.fields, path, prefix + number[1:]))
                yield document.write(put(document.fields, path, int(number[1:])))


# The second ones change how a field is written down in `extra`, and nothing else.
SPELLINGS = [reordered, said_twice, enveloped, percent_encoded, escaped]
OTHER_TYPES = [numbers_as_texts, texts_as_numbers, whole_numbers_with_a_point, phones_with_other_prefixes]


# ---- no good


def broken(document: Document) -> Iterator[Arrival]:
    return map(document.write, broken_fields(document))


def broken_fields(document: Document) -> Iterator[dict[str, Any]]:
    """Each field left out, and each with any value in its place; and fields that nobody expects."""
    fields = document.fields
    for path in paths(fields):
        yield _without(fields, path)
        for value in (*VALUES, *TEXTS):
            yield put(fields, path, value)
    yield {}
    for more in ("", "\0", "\ud800", "notes", "token", "x" * 5000, "__class__", "\u202e", "extra", "traffic"):
        yield fields | {more: ["x"]}
        yield {more: "x"} | fields
    yield fields | {f"field {n}": n for n in range(1500)}
    yield {name.upper(): value for name, value in fields.items()}


_RUNS = [
    "0", "9", "a", "A", "+", "-", "_", " ", "\t", "=", "%", "&", "¤cy=", "\ufffdcy=", "-0000000000", "nan", "0a",
    "2024-01-01 00:00:00", "é", "👋", "\0", "e9", ".", "/", "\\", "00",
]  # fmt: skip


_BODIES = [("", "["), ("", '{"a":'), ("", "&"), ("", "%"), ("", "a&"), ("", "¤cy=&"), ("", " "), ('{"id":', "9")]


def long_fields(document: Document) -> Iterator[Arrival]:
    """Texts, lists and numbers of fields in the shapes that slow readers fear."""
    fields, limit = document.fields, PROVIDERS[document.callback.provider].BODY_LIMIT_BYTES
    for path in paths(fields):
        for run in _RUNS:
            cost = len(urlencode({"": run})) if document.place != "json" else len(json.dumps(run))
            yield document.write(put(fields, path, run * (_RUN_BYTES // cost)))
        if isinstance(many := at(fields, path), list) and many:
            yield document.write(put(fields, path, many * (limit // len(json.dumps(many)))))
            yield document.write(put(fields, path, many * 500) | {f"field {n}": n for n in range(500)})
            yield document.write(put(fields, path, many * 100) | {f"field {n}": n for n in range(5000)})
    yield document.write(fields | {f"field {n}": n for n in range(limit // 24)})


def long_bodies(callback: Arrival) -> Iterator[Arrival]:
    """Bodies as long as the ingress takes them."""
    limit = PROVIDERS[callback.provider].BODY_LIMIT_BYTES
    for start, run in _BODIES:
        yield replace(callback, body=(start + run * (limit // len(run.encode()))).encode())
