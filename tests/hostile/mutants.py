"""Changes of a provider's request: before it is signed, so that parsers are reached, and after, so that proofs break.

Each takes a request and dice, and gives another request. None knows a provider by name.
"""

import json
import random
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

from msgspec.structs import replace

from shared.callback import Request
from tests.providers import mutations
from tests.providers.mutations import TEXTS, VALUES, Document
from tests.providers.support import callback_of

Mutant = Callable[[Request, random.Random], Request]

CHARSETS = ("utf-16", "utf-16-le", "gbk", "iso-8859-1", "utf-7", "cp037", "utf-8-sig", "shift_jis")
CONTENT_TYPES = (
    "", "text/plain", "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
    "application/json; charset=utf-16", "application/x-www-form-urlencoded; charset=gbk", ";;;", "\xff",
)  # fmt: skip
SPELLINGS = [
    spelling for spelling in mutations.SPELLINGS if spelling is not mutations.said_twice
]  # it doubles with each level
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "get")
FIELDS = ("id", "messageId", "messageid", "message_id", "MessageSid", "msg_id", "status", "type", "action", "payload")
NAMES = ("token", "bodySHA256", "messageId", "a", "", "a[]", "%74oken", "status", "sms_unique_id")
MORE_HEADERS = (
    ("x-forwarded-for", "192.0.2.7"), ("forwarded", "for=192.0.2.7"), ("x-real-ip", "192.0.2.7"),
    ("content-encoding", "gzip"), ("content-encoding", "identity"), ("connection", "close"), ("upgrade", "h2c"),
    ("expect", "100-continue"), ("te", "trailers"), ("x-http-method-override", "DELETE"), ("action", "mo"),
    ("action", "dr"), ("host", "elsewhere"), ("cookie", "a=b"), ("x", "y" * 3000), ("range", "bytes=0-1"),
)  # fmt: skip


def _documents(request: Request) -> list[Document]:
    """The fields of the body and of the query, where they can be read."""
    try:
        return list(mutations.documents(callback_of("", request)))
    except RecursionError:
        return []


def _written(request: Request, document: Document, fields: Any, encode: Callable[[Any], str] | None = None) -> Request:
    try:
        written = document.write(fields, encode)
    except (ValueError, TypeError, RecursionError):  # what this encoding cannot write
        return request
    return replace(request, body=written.body, query=written.query.encode("ascii", "replace").decode())


def _a_document(request: Request, dice: random.Random) -> Document | None:
    found = [document for document in _documents(request) if document.fields]
    return dice.choice(found) if found else None


# ---- before signing


def other_value(request: Request, dice: random.Random) -> Request:
    """Any value in the place of one."""
    if (document := _a_document(request, dice)) is None:
        return request
    path = dice.choice(list(mutations.paths(document.fields)))
    return _written(request, document, mutations.put(document.fields, path, dice.choice((*VALUES, *TEXTS))))


def other_number(request: Request, dice: random.Random) -> Request:
    """Every number of the document as text, or another one."""
    if (document := _a_document(request, dice)) is None:
        return request
    path = dice.choice(list(mutations.paths(document.fields)))
    value = mutations.at(document.fields, path)
    others = (str(value), f" {value}", f"+{value}", f"{value}.0", f"-{value}", f"{value}e0", "٣", 10**18 + 1, 0.1, True)
    return _written(request, document, mutations.put(document.fields, path, dice.choice(others)))


def no_field(request: Request, dice: random.Random) -> Request:
    if (document := _a_document(request, dice)) is None:
        return request
    left = dict(document.fields)
    del left[dice.choice(list(left))]
    return _written(request, document, left)


def more_fields(request: Request, dice: random.Random) -> Request:
    """Fields that are not expected, or that another provider or kind has."""
    if (document := _a_document(request, dice)) is None:
        return request
    count = dice.choice((1, 1, 1, 5, 199, 201, 1500))
    added = {dice.choice(FIELDS) if count == 1 else f"f{n}": dice.choice((1, "x", "", None)) for n in range(count)}
    return _written(request, document, {**document.fields, **added} if dice.random() < 0.5 else added | document.fields)


def nested(request: Request, dice: random.Random) -> Request:
    """One value within many lists or objects."""
    if (document := _a_document(request, dice)) is None or document.place != "json":
        return request
    depth, (opens, closes) = dice.choice((1, 5, 90, 900, 5000)), dice.choice((("[", "]"), ('{"a":', "}")))
    marker = "\u2400 a value"
    text = json.dumps(mutations.put(document.fields, (dice.choice(list(document.fields)),), marker))
    return replace(request, body=text.replace(json.dumps(marker), opens * depth + "1" + closes * depth).encode())


def doubled(request: Request, dice: random.Random) -> Request:
    """A field twice, with the same value or another."""
    if (document := _a_document(request, dice)) is None:
        return request
    name, value = dice.choice(list(document.fields)), dice.choice(("", "1", "x", "STOP", "delivered"))
    if document.place == "json":
        text = json.dumps(document.fields)
        added = f"{json.dumps(name)}:{json.dumps(value)}"
        body = f"{{{added},{text[1:]}" if dice.random() < 0.5 else f"{text[:-1]},{added}}}"
        return replace(request, body=body.encode())
    pair = f"{quote_plus(name)}={quote_plus(value)}"
    parts = [request.query if document.place == "query" else request.body.decode("latin-1"), pair]
    text = "&".join(dice.sample(parts, 2))
    return replace(request, query=text) if document.place == "query" else replace(request, body=text.encode("latin-1"))


def respelled(request: Request, dice: random.Random) -> Request:
    """Another spelling of the same document."""
    if (document := _a_document(request, dice)) is None:
        return request
    try:
        others = list(dice.choice(SPELLINGS)(document, []))
    except (ValueError, RecursionError):
        return request
    if not others:
        return request
    other = dice.choice(others)
    return replace(request, body=other.body, query=other.query, headers=dict(other.headers))


def other_charset(request: Request, dice: random.Random) -> Request:
    charset = dice.choice(CHARSETS)
    body = request.body.decode("utf-8", "replace").encode(charset, "replace")
    kind = request.headers.get("content-type", "").partition(";")[0]
    headers = request.headers | ({"content-type": f"{kind}; charset={charset}"} if dice.random() < 0.7 else {})
    return replace(request, body=body, headers=headers)


def other_content_type(request: Request, dice: random.Random) -> Request:
    return replace(request, headers={**request.headers, "content-type": dice.choice(CONTENT_TYPES)})


def other_bytes(request: Request, dice: random.Random) -> Request:
    """A few bytes of the body changed, added or left out."""
    return replace(request, body=flipped(request.body, dice, dice.choice((1, 1, 2, 5))))


def other_size(request: Request, dice: random.Random) -> Request:
    """An empty body, half of one, or one of about the limits' size."""
    size = dice.choice((0, 1, len(request.body) // 2, 65_535, 65_536, 65_537, 262_145))
    return replace(request, body=(request.body * (size // max(1, len(request.body)) + 1))[:size])


def other_query(request: Request, dice: random.Random) -> Request:
    """Parameters more, hundreds of them, or other spellings of them."""
    name, value = dice.choice(NAMES), dice.choice(("", "1", "%00", "%ff", "+", "x" * 300, "%E7%89%9B", "a=b"))
    count = dice.choice((1, 1, 1, 2, 196, 201, 600))
    parts = [*([request.query] if request.query else []), *[f"{name}={value}"] * count]
    return replace(request, query="&".join(dice.sample(parts, len(parts)) if dice.random() < 0.5 else parts))


def other_method(request: Request, dice: random.Random) -> Request:
    return replace(request, method=dice.choice(METHODS))


def body_as_query(request: Request, dice: random.Random) -> Request:
    """The form in the URL, with or without its body."""
    form = request.body.decode("latin-1")
    if not form.isascii() or not form.isprintable() or " " in form or len(form) > 2000:
        form = quote(form[:500])
    query = f"{request.query}&{form}" if request.query else form
    method, body = dice.choice((("GET", b""), ("POST", b""), ("POST", request.body)))
    return replace(request, method=method, query=query.replace("#", "%23"), body=body)


BEFORE: tuple[Mutant, ...] = (
    other_value, other_value, other_value, other_number, no_field, more_fields, nested, doubled, respelled, respelled,
    other_charset, other_content_type, other_bytes, other_size, other_query, other_method, body_as_query,
)  # fmt: skip


# ---- after signing


def other_header(request: Request, dice: random.Random) -> Request:
    """A header changed, left out or written otherwise: the signature as a rule, since there are few others."""
    headers = dict(request.headers)
    if not headers:
        return request
    name = dice.choice(list(headers))
    value = headers[name]
    one_flipped = flipped(value.encode("latin-1", "replace"), dice, 1).decode("latin-1")
    other = dice.choice(
        (None, "", value[:-1], value + "0", value.upper(), value.swapcase(), f" {value} ", f"{value}, {value}",
         "x" * 9000, value.replace("Bearer", "bearer"), one_flipped)
    )  # fmt: skip
    if other is None:
        del headers[name]
    else:
        headers[name] = "".join(character for character in other if character.isprintable())
    return replace(request, headers=headers)


def more_headers(request: Request, dice: random.Random) -> Request:
    name, value = dice.choice(MORE_HEADERS)
    return replace(request, headers={**request.headers, name: value})


def many_headers(request: Request, dice: random.Random) -> Request:
    count, size = dice.choice(((80, 1), (130, 1), (10, 2000), (40, 2000)))
    return replace(request, headers={**request.headers, **{f"x-{n}": "y" * size for n in range(count)}})


def other_path(request: Request, dice: random.Random) -> Request:
    """Another spelling of the path, another token, or none."""
    words = request.path.split("/")
    place = dice.randrange(1, len(words))
    word = words[place]
    words[place] = dice.choice(
        (word[:-1], word + "x", word.upper(), "".join(f"%{ord(char):02x}" for char in word), f"{word}%00", "..", "",
         f"{word};a=b", f"{word}/", f"./{word}", f"%2e%2e/{word}", quote(word + "é"))
    )  # fmt: skip
    return replace(request, path="/".join(words))


def token_elsewhere(request: Request, dice: random.Random) -> Request:
    """The token of the path in the query: as it is, wrong, twice or encoded."""
    words = request.path.split("/")
    if len(words) < 4 or not words[3]:
        return request
    token = words[3]
    encoded = f"%{ord(token[0]):x}{token[1:]}"
    given = dice.choice((token, token[:-1], token.upper(), f"{token}&token=x", f"x&token={token}", encoded))
    parts = [f"token={given}", *([request.query] if request.query else [])]
    return replace(request, path="/".join(words[:3]), query="&".join(dice.sample(parts, len(parts))))


def absolute(request: Request, dice: random.Random) -> Request:
    """The address with a scheme and a host before it."""
    return replace(request, path=dice.choice(("http://callbox", "https://elsewhere:1", "http://")) + request.path)


AFTER: tuple[Mutant, ...] = (
    other_header, other_header, other_header, more_headers, many_headers, other_path, token_elsewhere, absolute,
    other_bytes, other_query, other_method, other_size, body_as_query, respelled, doubled, other_content_type,
)  # fmt: skip


def flipped(data: bytes, dice: random.Random, count: int) -> bytes:
    """The bytes with some changed, put in or left out."""
    changed = bytearray(data)
    for _ in range(count):
        place = dice.randrange(len(changed) + 1)
        match dice.randrange(3):
            case 0:
                changed[place:place] = bytes([dice.randrange(256)])
            case 1:
                del changed[place : place + 1]
            case _ if place < len(changed):
                changed[place] = dice.choice((changed[place] ^ 1 << dice.randrange(8), dice.randrange(256)))
    return bytes(changed)
