"""What a stranger can make us do: the time of the processor until `verify` refuses, for requests made to be slow.

It is compared with the hash that proves the provider's callbacks, over the same bytes, in the same moment.
"""

import hmac
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from time import process_time, sleep
from typing import Any, Never
from urllib.parse import parse_qsl

import pytest
from msgspec.structs import replace

from shared import providers
from shared.allowance import Allowance
from shared.callback import Arrival
from shared.errors import Rejected
from shared.events import InboundMessage
from shared.payload.form import FORM_FIELDS, FORM_LIMIT_BYTES
from shared.providers import PROVIDERS, twilio
from shared.source import Source
from tests.providers.support import JUNK, PATH, at, callback_of, prove, source_of, tables

HASHES_AT_MOST = 3  # of all the bytes of a request, for each secret
SECONDS_BESIDE = 50e-6
FIFTY_MICROSECONDS = "&".join(f"a{number}=%41" for number in range(26))  # of `parse_qsl`, on the machine of this figure
CALLS, SAMPLES, TRIES = 3, 5, 12
HEAD_LIMIT_BYTES = 64 * 1024  # of the ingress

MESSAGE = InboundMessage(key=(), message_id="1", sender="+3725555555", recipient="1234", text="Grüße")
SIGNING = [provider for provider, module in PROVIDERS.items() if module.SIGNS]
SOURCES: dict[str, dict[str, Any]] = {
    "one secret": {"secrets": ["one secret"]},
    "two secrets": {"secrets": ["one secret", "another secret"]},
    "a secret and a token": {"secrets": ["one secret"], "token": "t"},
    "two secrets, unsigned": {"secrets": ["one secret", "another secret"], "unsigned": True},
}
RUNS = [
    b"a", b"%41", b"%", b"%zz", b"%%41", b"%0a", b"%3D", b"%FE", b"&", b"=", b"+", b" ", b".", b"0",
    b"%41=%42&", b"a&", b"=&", b"\xff", b"\xfe&", b"\xf0\x9f\x91\x8b", b"%\n",
    b"[", b'{"a":', b"1.1,", b'"\\u0041",', b'{"":1},', b"&token", b"token=x&", b"bodySHA256=", b"&bodySHA25",
    b"W1tb",  # many brackets in Base64
    b"~,/;?$:'@(*)! ", b"%3A%27%40%28%2A%29%21+", b"I'm+here:@(*)!&",  # what may be spelled in many ways
]  # fmt: skip


def nasty(size: int) -> Iterator[tuple[str, bytes]]:
    """Texts of this size, each of which one reader or another takes long for."""
    for run in RUNS:
        text = run * (size // len(run))
        yield f"{run!r}", text
        yield f"a={run!r}", b"a=" + text[:-2]
        yield f"JSON of {run!r}", b'{"messageid":"x","a":[' + text[:-24] + b"]}"
    for share in (0, 1, 10, 33):  # of a hundred characters, how many begin an escape
        for fields in (1, FORM_FIELDS):
            yield f"{fields} fields, {share} % escapes", form(size, fields, share)
            yield f"{fields} decoded fields, {share} % escapes", form(min(size, FORM_LIMIT_BYTES), fields, share)


def form(size: int, fields: int, share: int) -> bytes:
    """A form of `fields` fields, with escapes enough to be read."""
    length = size // fields - 8
    too_many = max(0, length - FORM_LIMIT_BYTES // fields + 8)
    escapes = min(max(length * share // 100, (too_many + 1) // 2), length // 3)
    return b"&".join(b"%05d=" % n + b"%41" * escapes + b"a" * (length - 3 * escapes) for n in reversed(range(fields)))


def forged(provider: str) -> Arrival:
    """A callback with a signature in good form, by another secret."""
    module = PROVIDERS[provider]
    request = replace(module.render(MESSAGE), path=PATH)
    return callback_of(provider, providers.sign(request, source_of(provider, secrets=["not ours"])), datetime.now(UTC))


def hostile(provider: str) -> Iterator[tuple[str, Arrival]]:
    """Callbacks of which one part is long, with a wrong signature and with none."""
    module, signed = PROVIDERS[provider], forged(provider)
    plain = replace(signed, headers={"content-type": "text/plain"})
    for kind, callback in (("forged", signed), ("unsigned", plain)):
        for size in (module.BODY_LIMIT_BYTES, 4096):
            for name, body in nasty(size):
                yield f"{kind}, a body of {size} B: {name}", replace(callback, body=body)
        for size, altered in ((HEAD_LIMIT_BYTES, callback), (15 * 1024, no_body(callback)), (512, no_body(callback))):
            for name, query in nasty(size):
                target = f"{PATH}?{query.decode('latin-1')}"
                yield f"{kind}, a query of {size} B: {name}", at(altered, target)
    for header in sorted(module.PROOF_HEADERS & signed.headers.keys()):
        for size in (HEAD_LIMIT_BYTES, 8192):
            for name, text in nasty(size):
                for before, behind in (("", ""), (signed.headers[header], ""), ("Bearer ", f".e30.{'A' * 43}")):
                    value = before + text.decode("latin-1")[: size - len(before + behind)] + behind
                    headers = {**signed.headers, header: value}
                    yield f"{size} B of {before} {name} {behind} in {header}", replace(signed, headers=headers)


def no_body(callback: Arrival) -> Arrival:
    return replace(callback, body=b"")


def seconds(action: Callable[[], object]) -> float:
    """The time of the processor that it takes."""
    start = process_time()
    for _ in range(CALLS):
        action()
    return (process_time() - start) / CALLS


def refuse(callback: Arrival, source: Source) -> None:
    with suppress(Rejected):
        prove(callback, source)


def excess(callback: Arrival, source: Source, samples: int) -> float:
    """How many times as long as it may a refusal takes; what it may grows where all of Python is slow just now."""
    covered = "".join([callback.target, *callback.headers.values()]).encode() + callback.body
    keys, algorithm = [secret.encode() for secret in source.secrets], tables(callback.provider)["proof"]["hash"]
    times = [
        (
            seconds(lambda: refuse(callback, source)),
            seconds(lambda: [hmac.digest(key, covered, algorithm) for key in keys]),
            seconds(lambda: parse_qsl(FIFTY_MICROSECONDS)),
        )
        for _ in range(samples)
    ]
    taken, hashing, beside = (float(min(column)) for column in zip(*times, strict=True))  # noise only adds
    return taken / (HASHES_AT_MOST * hashing + max(SECONDS_BESIDE, beside))


@pytest.mark.parametrize("keys", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("provider", SIGNING)
def test_a_refusal_costs_no_more_than_three_hashes_of_the_request(
    provider: str, keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("likely", "unlikely"):
        monkeypatch.setattr(twilio.respelled, name, Allowance(a_second=0, at_once=0))  # as a flood soon leaves them
    source = source_of(provider, **keys)
    for name, callback in hostile(provider):
        if excess(callback, source, 1) > 1:  # or something else took the processor
            ratios: list[float] = []
            while not ratios or (min(ratios) > 1 and len(ratios) < TRIES):
                sleep(0.02 * len(ratios))
                ratios.append(excess(callback, source, SAMPLES))
            assert min(ratios) <= 1, (name, ratios)


class Untouched:
    """A part of a request that nothing may be done with."""

    def _touch(self, *_: object) -> Never:
        raise AssertionError("touched before the signature was read")

    __getattr__ = __len__ = __iter__ = __str__ = __repr__ = __format__ = __bool__ = __contains__ = __bytes__ = _touch
    __eq__ = __hash__ = __add__ = __radd__ = __buffer__ = _touch


@pytest.mark.parametrize("provider", SIGNING)
def test_without_a_signature_in_good_form_nothing_else_is_looked_at(provider: str) -> None:
    header, source = tables(provider)["proof"]["header"], source_of(provider, secrets=["x"])
    nothing: Any = Untouched()
    untouched = replace(forged(provider), body=nothing, query=nothing, target=nothing)
    others = {name: value for name, value in untouched.headers.items() if name != header}
    for headers in ({}, others, *({**others, header: junk} for junk in JUNK)):
        with pytest.raises(Rejected):
            prove(replace(untouched, headers=headers), source)
    signed = replace(untouched, headers=forged(provider).headers)
    if tables(provider)["proof"]["covers_body"]:
        with pytest.raises((AssertionError, TypeError)):
            prove(signed, source)
