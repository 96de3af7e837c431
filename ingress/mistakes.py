"""The common mistakes that make a signature wrong, each tried: one that is named here is proven.

A secret that was copied badly, or is another one; a URL that a proxy changed; a body that something on the way changed.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from msgspec.structs import replace as replace_fields

from shared.callback import Arrival
from shared.providers import Provider, is_signed_by
from shared.source import Source

_BODY_LIMIT_BYTES = 256 * 1024  # a longer one is not tried in other spellings


class _Attempt(NamedTuple):
    """The request and the source as they would be without a mistake, and the sentence if that was the one."""

    arrival: Arrival
    source: Source
    sentence: str


def mistakes(provider: Provider, arrival: Arrival, source: Source, others: Iterable[Source]) -> Iterator[str]:
    """A sentence for each mistake without which one of the secrets would have made the signature.

    `others` are the sources whose secrets may have been taken for this one's. No sentence holds a secret.
    """
    for attempts in (_secrets, _urls, _bodies):
        for attempt in attempts(provider, arrival, source):
            if is_signed_by(provider, attempt.arrival, attempt.source):
                yield attempt.sentence
    for other in others:
        if other.name == source.name or other.provider != source.provider:
            continue
        for number, secret in enumerate(other.secrets, 1):
            if secret not in source.secrets and is_signed_by(provider, arrival, replace(source, secrets=(secret,))):
                yield (
                    f"secret {number} of {other.name} made the signature: give {source.name} that secret too, or have"
                    f" the provider call the URL of {other.name}"
                )


def _secrets(provider: Provider, arrival: Arrival, source: Source) -> Iterator[_Attempt]:
    for number, secret in enumerate(source.secrets, 1):
        for meant, how in _meant(secret):
            if meant and meant != secret:
                sentence = f"secret {number} would do {how}: correct it in the configuration"
                yield _Attempt(arrival, replace(source, secrets=(meant,)), sentence)


def _meant(secret: str) -> Iterator[tuple[str, str]]:
    """What may have been meant by a secret, and how that differs."""
    yield secret.strip("\ufeff \t\r\n"), "without the blanks or line breaks around it"
    yield secret.strip("'\"`‘’“”"), "without the quotation marks around it"
    yield secret + "\n", "with a line break at its end, which the provider seems to have"
    yield secret + "\r\n", "with a line break at its end, which the provider seems to have"
    yield unquote(secret), "with its %XX decoded"
    yield secret.lower(), "in lower case"
    yield secret.upper(), "in upper case"
    yield _text(secret.encode("utf-8", "surrogateescape").hex()), "written in hex"
    yield _text(base64.b64encode(secret.encode("utf-8", "surrogateescape")).decode()), "written in Base64"
    for decode, how in (
        (bytes.fromhex, "as the bytes that it spells in hex"),
        (_from_base64, "as the bytes that it spells in Base64"),
    ):
        try:
            yield _text(decode(secret)), how
        except ValueError:
            continue


def _text(key: str | bytes) -> str:
    return key if isinstance(key, str) else key.decode("utf-8", "surrogateescape")


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_" if "-" in text else None)


def _urls(provider: Provider, arrival: Arrival, source: Source) -> Iterator[_Attempt]:
    """For a provider that has an option for the URL that it calls."""
    for key in (key for key, option in provider.OPTIONS.items() if option.unit == "URL" and source.options.get(key)):
        given = source.options[key]
        for url in _other_urls(given, arrival):
            sentence = f"{url} is how the URL begins that was signed, {key} is {given}: set {key} to that"
            yield _Attempt(arrival, replace(source, options={**source.options, key: url}), sentence)
        for target, how in _other_targets(arrival):
            sentence = f"the URL that was signed {how}: something on the way changes it, a proxy perhaps"
            yield _Attempt(_at(arrival, target), source, sentence)


def _other_urls(given: str, arrival: Arrival) -> Iterator[str]:
    """How else the URL may begin: in another scheme, at a host that a header of the request names, at another path."""
    parts = urlsplit(given)
    named = [arrival.headers.get(name, "").partition(",")[0].strip() for name in ("host", "x-forwarded-host")]
    for scheme in ("https", "http"):
        for host in dict.fromkeys(filter(None, (parts.netloc, *named))):
            for path in dict.fromkeys((parts.path, "")):
                url = urlunsplit((scheme, host, path, "", "")).rstrip("/")
                if url != given.rstrip("/"):
                    yield url


def _other_targets(arrival: Arrival) -> Iterator[tuple[str, str]]:
    path, mark, query = arrival.target.partition("?")
    if path.endswith("/"):
        yield path.rstrip("/") + mark + query, "has no slash at the end of its path"
    else:
        yield f"{path}/{mark}{query}", "has a slash at the end of its path"
    if mark:
        yield path, "has no parameters"


def _at(arrival: Arrival, target: str) -> Arrival:
    return replace_fields(arrival, target=target)


def _bodies(provider: Provider, arrival: Arrival, source: Source) -> Iterator[_Attempt]:
    for body, how in _other_bodies(arrival.body) if len(arrival.body) <= _BODY_LIMIT_BYTES else ():
        if body != arrival.body:
            sentence = f"the body that was signed {how}: something on the way changes it, a proxy perhaps"
            yield _Attempt(replace_fields(arrival, body=body), source, sentence)


def _other_bodies(body: bytes) -> Iterator[tuple[bytes, str]]:
    yield body.strip(), "had no blanks or line breaks around it"
    yield body + b"\n", "had a line break at its end"
    yield body + b"\r\n", "had a line break at its end"
    yield body.replace(b"\r\n", b"\n"), "had other line breaks"
    yield body.replace(b"\n", b"\r\n"), "had other line breaks"
    yield body.removeprefix(b"\xef\xbb\xbf"), "had no byte order mark"
    yield b"\xef\xbb\xbf" + body, "had a byte order mark"
    yield b"", "was empty"
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return
    for separators in ((",", ":"), (", ", ": ")):
        for is_ascii in (False, True):
            yield _json(document, separators, is_ascii), "was the same JSON in another spelling"


def _json(document: Any, separators: tuple[str, str], is_ascii: bool) -> bytes:
    text = json.dumps(document, ensure_ascii=is_ascii, separators=separators)
    return text.encode("utf-8", "surrogatepass")
