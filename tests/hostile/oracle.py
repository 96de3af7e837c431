"""Decides whether a request was proven, by the documented rules, from what was sent and the source's configuration.

It shares nothing with shared/signing.py and the providers' own `verify`: two readers that agree are a better witness
than one. Where the rules leave a choice it takes the lenient one for the sender's spelling, and the strict one for
what is covered. What a source with secrets of a provider without a rule here accepts is not judged, and docs/hostile.md
says so.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from itertools import combinations
from typing import Any
from urllib.parse import quote, unquote, unquote_plus, unquote_to_bytes, urlsplit

from shared.source import Source
from tests.hostile.wire import Sent

LEEWAY_SECONDS = 60  # of a JWT's times

Rule = Callable[[Sent, Source, float], bool]


def source_of(sent: Sent, sources: Mapping[str, Source]) -> Source | None:
    """The source whose address the request has."""
    words = _path(sent).split("/")
    return sources.get(words[2]) if len(words) in (3, 4, 5) and words[:2] == ["", "callbacks"] else None


def can_judge(source: Source) -> bool:
    """Whether there is a rule for what this source must be sent."""
    return not source.secrets or source.provider in RULES


def is_proven(sent: Sent, source: Source, address: str, now: float) -> bool:
    """Whether the request, sent from this address at this time, proves that it comes from the source's provider."""
    if source.allow_ips and not any(ip_address(address) in network for network in source.allow_ips):
        return False
    if source.token is not None and source.token not in _tokens(sent):
        return False
    if source.secrets:
        return RULES[source.provider](sent, source, now)
    return source.token is not None or source.unsigned


def _parts(sent: Sent) -> tuple[str, str]:
    """Path and query as they were sent, without the scheme and host of an absolute address."""
    target = sent.target.partition("#")[0]
    if not target.startswith("/"):
        split = urlsplit(target)
        target = split.path + (f"?{split.query}" if split.query else "")
    path, _, query = target.partition("?")
    return path, query


def _path(sent: Sent) -> str:
    return unquote(_parts(sent)[0])


def _tokens(sent: Sent) -> set[str]:
    words = _path(sent).split("/")
    in_query = (part.partition("=") for part in _parts(sent)[1].split("&"))
    return {*words[3:4], *(unquote_plus(value) for name, _, value in in_query if name == "token")}


def _keys(source: Source) -> list[bytes]:
    return [secret.encode() for secret in source.secrets]


def _single(sent: Sent, name: str) -> str:
    """The value of a header that must be there once."""
    values = sent.values(name)
    return values[0] if len(values) == 1 else ""


# ---- emnify: a JWT in `Authorization: Bearer`, HS256, HS384 or HS512, over itself only

_HASHES = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}


def _emnify(sent: Sent, source: Source, now: float) -> bool:
    scheme, _, token = _single(sent, "authorization").partition(" ")
    parts = token.split(".")
    if scheme.lower() != "bearer" or len(parts) != 3:
        return False
    try:
        header, claims = (json.loads(_base64url(part)) for part in parts[:2])
        signature = _base64url(parts[2])
    except (ValueError, RecursionError):
        return False
    if not isinstance(header, dict) or not isinstance(claims, dict) or "crit" in header:
        return False
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in _HASHES or not _in_time(claims, now):
        return False
    message = f"{parts[0]}.{parts[1]}".encode("latin-1")
    return any(hmac.digest(key, message, _HASHES[algorithm]) == signature for key in _keys(source))


def _base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text.encode("latin-1") + b"=" * (-len(text) % 4))


def _in_time(claims: Mapping[str, Any], now: float) -> bool:
    try:
        times = {name: int(claims[name]) for name in ("exp", "nbf") if name in claims}
    except (ValueError, TypeError, OverflowError):
        return False
    return times.get("exp", now) > now - LEEWAY_SECONDS and times.get("nbf", now) <= now + LEEWAY_SECONDS


# ---- Messente: HMAC-SHA256 of the body in hex; the older API's GET is never signed


def _messente(sent: Sent, source: Source, now: float) -> bool:
    if sent.method == "GET":
        return source.token is not None or source.unsigned
    signature = _single(sent, "x-messente-signature").lower()
    return any(hmac.new(key, sent.body, hashlib.sha256).hexdigest() == signature for key in _keys(source))


# ---- NXCloud: MD5 over four headers, the body and the secret; receipts of the SMS product are never signed

_SIGNED = ("accessKey", "action", "bizType", "ts")


def _nxcloud(sent: Sent, source: Source, now: float) -> bool:
    if any(sent.values(name.lower()) for name in (*_SIGNED, "sign")):
        return _nxcloud_signature(sent, source, now)
    return not _may_be_did(sent) and (source.token is not None or source.unsigned)


def _nxcloud_signature(sent: Sent, source: Source, now: float) -> bool:
    values = {name: _single(sent, name.lower()) for name in _SIGNED}
    window: int = source.options["timestamp_tolerance_seconds"]
    if not values["ts"].isdecimal() or abs(int(values["ts"]) / 1000 - now) > window:
        return False
    message = "&".join(f"{name}={value}" for name, value in values.items()).encode("latin-1")
    message += b"&body=" + sent.body if sent.body else b""
    signature = _single(sent, "sign").lower()
    digests = (hashlib.md5(message + b"&accessSecret=" + key, usedforsecurity=False) for key in _keys(source))
    return any(digest.hexdigest() == signature for digest in digests)


def _may_be_did(sent: Sent) -> bool:
    """Whether any reading of it, without any limit, finds a message or receipt of a DID number; or it is unreadable."""
    body = sent.body.removeprefix(b"\xef\xbb\xbf").strip()
    if body.startswith(b"{"):
        try:
            return json.loads(body.decode("utf-8", "replace")).get("messageId") is not None
        except (ValueError, RecursionError):
            return True
    texts = (_parts(sent)[1], sent.body.decode("latin-1"))
    return any(unquote_plus(part.partition("=")[0]) == "messageId" for text in texts for part in text.split("&"))


# ---- Twilio: HMAC-SHA1 in Base64 over the URL as it was called, with or without its port, and the sorted form


def _twilio(sent: Sent, source: Source, now: float) -> bool:
    try:
        signature = base64.b64decode(_single(sent, "x-twilio-signature"), validate=True)
    except (ValueError, binascii.Error):
        return False
    path, query = _parts(sent)
    digests = [unquote_plus(v) for n, _, v in (part.partition("=") for part in query.split("&")) if n == "bodySHA256"]
    if digests:
        form = b""
        if digests[0].lower() != hashlib.sha256(sent.body).hexdigest():
            return False
    else:
        pairs = [part.partition(b"=") for part in sent.body.replace(b"+", b" ").split(b"&")] if sent.body else []
        if not all(equals for _, equals, _ in pairs):  # what is signed does not show where a name ends
            return False
        if any(b"=" in value for _, _, value in pairs) and len({name for name, _, _ in pairs}) < len(pairs):
            return False  # nor, when sorted, which value came first
        form = b"".join(name + value for name, value in sorted({(_decoded(n), _decoded(v)) for n, _, v in pairs}))
    public = urlsplit(source.options["public_url"])
    rest = public.path.rstrip("/") + path + (f"?{query}" if query else "")
    port = public.port or {"http": 80, "https": 443}[public.scheme]
    urls = [f"{public.scheme}://{host}{rest}" for host in (public.hostname, f"{public.hostname}:{port}")]
    if query and not sent.body:
        start = urls[0].removesuffix(query)
        urls += [start + spelling for spelling in _spellings(query)]
    messages = [url.encode("utf-8") + form for url in urls]
    return any(hmac.digest(key, message, "sha1") == signature for key in _keys(source) for message in messages)


def _spellings(query: str) -> Iterator[str]:
    """The query as encoders may write it: with any choice of these characters as they are, or all that may be so."""
    pairs = [part.partition("=") for part in query.replace("+", " ").split("&") if part]
    fields = [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in pairs]
    sets = ["".join(chars) for count in range(8) for chars in combinations(":'@(*)!", count)]
    for safe in (*sets, ":'@(*)!,;/?$"):
        for tilde in ("~", "%7E"):
            spelled = "&".join(f"{quote(name, safe)}={quote(value, safe)}" for name, value in fields)
            yield from (spelled.replace("~", tilde), spelled.replace("~", tilde).replace("%20", "+"))


def _decoded(text: bytes) -> bytes:
    return unquote_to_bytes(text)


RULES: Mapping[str, Rule] = {"emnify": _emnify, "messente": _messente, "nxcloud": _nxcloud, "twilio": _twilio}
