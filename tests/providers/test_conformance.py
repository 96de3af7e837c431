"""What every provider owes, tried on every case of every provider: a new one is tried by itself.

What a signature covers cannot be altered; another spelling of a request says the same; and whatever is in a field,
there is an event that PostgreSQL takes, or a Malformed, in a time that grows no faster than the request.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from statistics import median
from time import perf_counter
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shared import providers
from shared.callback import Arrival
from shared.errors import Malformed, Rejected
from shared.events import InboundMessage, dedupe_key, fingerprint
from shared.providers import PROVIDERS
from shared.source import Source
from tests.providers import mutations
from tests.providers.mutations import Document, documents
from tests.providers.support import (
    PATH,
    Sample,
    at,
    callback_of,
    cases,
    check_storable,
    comparable,
    event_in,
    is_respelled,
    prove,
    read,
    samples,
    source_of,
    tables,
)

SAMPLES = [
    pytest.param(sample, id=f"{sample.provider}: {sample.name}")
    for provider in PROVIDERS
    for sample in samples(provider)
]
PROOF = {provider: tables(provider)["proof"] for provider in PROVIDERS if PROVIDERS[provider].SIGNS}
BODIES = [provider for provider, proof in PROOF.items() if proof["covers_body"]]
URLS = [provider for provider, proof in PROOF.items() if proof.get("covers_url")]


# ---- what is signed


@cache
def signed(provider: str) -> list[tuple[Arrival, Source]]:
    """The cases that a signature proves, and the event of every other case as its provider would sign it."""
    found = [(sample.callback, sample.source) for sample in samples(provider) if sample.source.secrets]
    source = source_of(provider, secrets=["the secret"])
    for owner, case in cases():
        for table in case.get("event", []) if owner == provider else []:
            if "malformed" not in table:
                request = replace(PROVIDERS[provider].render(event_in(table)), path=PATH)
                found.append((callback_of(provider, providers.sign(request, source), datetime.now(UTC)), source))
    return [(callback, source) for callback, source in found if PROOF[provider]["header"] in callback.headers]


def accepts(callback: Arrival, source: Source) -> bool:
    try:
        return bool(prove(callback, source))
    except Rejected:
        return False


@st.composite
def alterations(draw: st.DrawFn, body: bytes) -> bytes:
    """The body with one bit of it flipped, with some bytes taken out or put in."""
    if body and draw(st.booleans()):
        place = draw(st.integers(0, len(body) - 1))
        return body[:place] + bytes([body[place] ^ 1 << draw(st.integers(0, 7))]) + body[place + 1 :]
    start = draw(st.integers(0, len(body)))
    end = draw(st.integers(start, len(body)) | st.just(start))
    return (
        body[:start] + draw(st.binary(max_size=8) | st.sampled_from([b"=", b"&a=b", b"\0", b"{}", b"%20"])) + body[end:]
    )


@pytest.mark.parametrize("provider", BODIES)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_altered_body_is_accepted(provider: str, data: st.DataObject) -> None:
    callback, source = data.draw(st.sampled_from(signed(provider)))
    altered = replace(callback, body=data.draw(alterations(callback.body)))
    assert not accepts(altered, source) or is_respelled(altered, callback, source)


@pytest.mark.parametrize("provider", BODIES)
def test_no_body_cut_short_or_drawn_out_is_accepted(provider: str) -> None:
    for callback, source in signed(provider):
        assert accepts(callback, source)
        for place in range(len(callback.body)):
            for body in (callback.body[:place], callback.body[place + 1 :], callback.body + callback.body[: place + 1]):
                altered = replace(callback, body=body)
                assert not accepts(altered, source) or is_respelled(altered, callback, source), body


@pytest.mark.parametrize("provider", URLS)
def test_no_altered_url_is_accepted(provider: str) -> None:
    for callback, source in signed(provider):
        whole = callback.target
        others = [whole[:place] + whole[place + 1 :] for place in range(1, len(whole))]
        others += [
            whole + more
            for more in ("?", "&", "&a=b", "/", "%20", "#", "\0", "é", "\udcff")
            if more != "?" or callback.query
        ]
        others += [whole.upper(), whole + whole]
        for other in others:
            assert said(other) == said(whole) or not accepts(at(callback, other), source), other


def said(target: str) -> tuple[str, list[tuple[str, str]]]:
    """What a URL means, in whichever spelling."""
    path, _, query = target.partition("?")
    return path, parse_qsl(query, keep_blank_values=True, errors="surrogateescape")


@pytest.mark.parametrize("provider", PROOF)
def test_there_are_signed_samples_of_all_that_is_signed(provider: str) -> None:
    assert len(signed(provider)) >= 3


class Recorded(dict[str, str]):
    """Headers that remember which were asked for, and cannot be listed."""

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__(headers)
        self.asked: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("lists the headers")

    keys = items = values = copy = __or__ = __ror__ = __len__ = __iter__  # type: ignore[assignment]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_verify_reads_the_headers_that_it_declares_and_no_other(provider: str) -> None:
    module = PROVIDERS[provider]
    asked: set[str] = set()
    requests = [(sample.callback, sample.source) for sample in samples(provider)] + (
        signed(provider) if module.SIGNS else []
    )
    for callback, own in requests:
        for source in (own, source_of(provider, token="t"), source_of(provider, secrets=["x", "y"], unsigned=True)):
            for without in (None, *module.PROOF_HEADERS & callback.headers.keys()):
                headers = Recorded({name: value for name, value in callback.headers.items() if name != without})
                accepts(replace(callback, headers=headers), source)
                asked |= headers.asked
    assert asked == module.PROOF_HEADERS
    assert all(name == name.lower() for name in module.PROOF_HEADERS | module.HEADERS)


@pytest.mark.parametrize("text", ["x" * 1600, "你" * 4096, "👋" * 4096], ids=["ASCII", "three bytes", "four bytes"])
@pytest.mark.parametrize(
    "provider", [provider for provider in PROVIDERS if "text" in tables(provider)["wire"]["message"]]
)
def test_the_longest_message_fits(provider: str, text: str) -> None:
    """Up to 1,600 characters in SMS, 4,096 in WhatsApp, each of which a form takes nine bytes or twelve for."""
    module, source = PROVIDERS[provider], source_of(provider, secrets=["a secret"] if PROVIDERS[provider].SIGNS else ())
    message = InboundMessage(key=(), message_id="1", sender="+3725555555", recipient="1234", text=text)
    request = providers.sign(replace(module.render(message), path=PATH), source)
    callback = callback_of(provider, request, datetime.now(UTC))
    assert len(callback.body) <= module.BODY_LIMIT_BYTES
    assert not source.secrets or prove(callback, source) == "secret-1"
    (event,) = read(callback, source)
    assert isinstance(event, InboundMessage)
    assert event.text == text


# ---- other spellings


def spellings(table: list[Callable[..., Iterator[Arrival]]]) -> list[Any]:
    """The providers of which any case can be spelled so."""
    return [
        pytest.param(provider, spell, id=f"{provider}: {spell.__name__}")
        for spell in table
        for provider in PROVIDERS
        if any(spelled(provider, spell))
    ]


def spelled(
    provider: str, spell: Callable[..., Iterator[Arrival]]
) -> Iterator[tuple[Sample, list[Any], Document, Arrival]]:
    """Each case of the provider, what is found in it once it is written in our own way, and its other spellings."""
    for sample in samples(provider):
        for document in documents(sample.callback):
            found = read(document.write(document.fields), sample.source)
            for other in spell(document, found):
                yield sample, found, document, other


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_case_says_the_same_when_it_is_written_in_our_own_way(sample: Sample) -> None:
    """So that the spellings below begin with what the case says."""
    for document in documents(sample.callback):
        own = read(document.write(document.fields), sample.source)
        assert comparable(own, "extra") == comparable(read(sample.callback, sample.source), "extra")


@pytest.mark.parametrize(("provider", "spell"), spellings(mutations.SPELLINGS))
def test_another_spelling_says_the_same(provider: str, spell: Callable[..., Iterator[Arrival]]) -> None:
    for sample, found, _, other in spelled(provider, spell):
        assert comparable(read(other, sample.source)) == comparable(found), (sample.name, other)


@pytest.mark.parametrize(("provider", "spell"), spellings(mutations.OTHER_TYPES))
def test_another_type_says_the_same(provider: str, spell: Callable[..., Iterator[Arrival]]) -> None:
    """Only `extra` shows it, where the field is kept as it was sent."""
    for sample, found, _, other in spelled(provider, spell):
        again = read(other, sample.source)
        assert comparable(again, "extra") == comparable(found, "extra"), (sample.name, other)
        for one, two in zip(again, found, strict=True):
            assert isinstance(one, Malformed) or (dedupe_key(one), fingerprint(one)) == (
                dedupe_key(two),
                fingerprint(two),
            )


# ---- anything in any field


@pytest.mark.parametrize("sample", SAMPLES)
def test_whatever_is_in_a_field_there_is_an_event_or_a_malformed(sample: Sample) -> None:
    for document in documents(sample.callback):
        for request in mutations.broken(document):
            for event in read(request, sample.source):
                if not isinstance(event, Malformed):
                    check_storable(event)
                    dedupe_key(event), fingerprint(event)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_text_is_kept_as_it_was_sent(provider: str) -> None:
    tried = 0
    for sample in samples(provider):
        for document in documents(sample.callback):
            messages = [
                event
                for event in read(document.write(document.fields), sample.source)
                if isinstance(event, InboundMessage)
            ]
            for path in mutations.paths(document.fields) if messages else ():
                marked = mutations.put(document.fields, path, "a mark")
                (event,) = read(document.write(marked), sample.source)
                if not isinstance(event, InboundMessage) or event.text != "a mark":
                    continue
                tried += 1
                for text in ("", *mutations.TEXTS):
                    (event,) = read(document.write(mutations.put(document.fields, path, text)), sample.source)
                    assert isinstance(event, InboundMessage)
                    kept = "".join("\ufffd" if char == "\0" or "\ud800" <= char <= "\udfff" else char for char in text)
                    assert document.place != "json" or event.text == kept
                    assert event.text == kept or text not in mutations.STORABLE_TEXTS
    assert tried or "message" not in tables(provider)["wire"]


# ---- time

EVENTS_AT_MOST = 1000  # in one callback, as one transaction takes them
SLOWER_AT_MOST = 15  # times as long as the plain decoding of the same bytes


def seconds(action: Callable[[], object]) -> float:
    start = perf_counter()
    action()
    return perf_counter() - start


def decode(callback: Arrival) -> None:
    """Reads the bytes once in each way, and writes them as a form and reads that."""
    text = callback.body.decode("utf-8", "replace")
    with suppress(ValueError, RecursionError):
        json.loads(text)
    for form in (text, callback.query, urlencode({"": text + callback.query}, errors="replace")):
        parse_qsl(form, keep_blank_values=True)


def slowness(callback: Arrival, source: Source) -> float:
    return seconds(lambda: read(callback, source)) / seconds(lambda: decode(callback))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_long_request_takes_no_longer_than_its_length_allows(provider: str) -> None:
    rich = richest(provider)
    tried = [(callback, place.source) for place, document in rich for callback in mutations.long_fields(document)]
    each_place = {document.place: place for place, document in rich}.values()
    tried += [(callback, place.source) for place in each_place for callback in mutations.long_bodies(place.callback)]
    for callback, source in tried:
        assert len(read(callback, source)) <= EVENTS_AT_MOST
        if slowness(callback, source) > SLOWER_AT_MOST:  # or something else took the processor
            ratio = median(slowness(callback, source) for _ in range(5))
            assert ratio < SLOWER_AT_MOST, (len(callback.body), callback.body[:99], callback.body[-99:])


def richest(provider: str) -> list[tuple[Sample, Document]]:
    """Of each kind of request the case with the most fields."""
    found: dict[object, tuple[Sample, Document]] = {}
    for sample in samples(provider):
        kinds = {type(event) for event in read(sample.callback, sample.source)} - {Malformed}
        for document in documents(sample.callback) if kinds else ():
            lists = {name for name, value in document.fields.items() if isinstance(value, list)}
            kind = document.place, *sorted(map(str, kinds)), *lists
            if kind not in found or len(document.fields) > len(found[kind][1].fields):
                found[kind] = sample, document
    return list(found.values())
