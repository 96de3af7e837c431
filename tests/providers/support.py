"""What the tests of all providers share: callbacks, sources, and the cases in `<provider>.toml`."""

import dataclasses
import json
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from shared import providers
from shared.callback import Arrival, Callback, Request, pack, unpack
from shared.errors import Malformed
from shared.events import Attachment, DeliveryReport, Event, InboundMessage, Status
from shared.payload.notes import REPEATED
from shared.providers import PROVIDERS
from shared.source import Source

NOW = datetime(2024, 5, 1, tzinfo=UTC)
PATH = "/callbacks/test"
JUNK = [  # for a signature
    "", " ", "\t", "\0", "0", "zz", "g" * 64, "é" * 32, "\udcff" * 64, "0" * 63, "0" * 65, " " + "0" * 64,
    "0" * 64 + "\n", "0x" + "0" * 62, "٠" * 64, "ａ" * 64, "a" * 100_000, "sha256=" + "0" * 64,
    "Bearer", "Bearer ", "Bearer .", "Bearer ..", "Bearer a.b.c", "Bearer é.é.é", "Bearer \udcff.a.b",
    "Bearer " + "a" * 100_000, "Basic eDp5", "null", "undefined", "-1", "%00",
]  # fmt: skip
_SOURCE_KEYS = {field.name for field in dataclasses.fields(Source)} - {"name", "provider", "options"}


def source_of(provider: str, **keys: Any) -> Source:
    """A source with these keys of the configuration and those that every source of the provider needs."""
    keys = {**tables(provider).get("proof", {}).get("source", {}), **keys}
    keys["secrets"] = tuple(keys.get("secrets", ()))
    zone = ZoneInfo(keys.pop("timezone", PROVIDERS[provider].TIMEZONE))
    known = PROVIDERS[provider].OPTIONS
    options = {name: keys.pop(name) for name in keys.keys() - _SOURCE_KEYS}
    assert options.keys() <= known.keys(), f"no key of a source of {provider}: {options.keys() - known.keys()}"
    for name, option in known.items():
        assert name in options or not option.required, f"{provider} needs {name}: {option.meaning}"
        assert type(options.setdefault(name, option.default)) in (option.type, type(option.default)), name
    return Source("test", provider, timezone=zone, options=options, **keys)


def example_of(provider: str) -> str:
    """A source of the provider as callbox.toml has it: signed, with a token for the kinds that are never signed. It is
    named `every-` and the provider."""
    needed = tables(provider).get("proof", {}).get("source", {})
    keys = {
        "provider": provider,
        "secrets": ["a-secret-of-the-tests-0123456789"],
        "token": f"token-of-{provider}",
        **needed,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(["", f"[sources.every-{provider}]", *lines, ""])


def callback_of(provider: str, request: Request, received_at: datetime = NOW) -> Arrival:
    """The callback as it arrives with the request."""
    return Arrival.of(
        id=UUID(int=7 << 76 | 2 << 62),
        source="test",
        provider=provider,
        received_at=received_at,
        method=request.method,
        target=request.target,
        headers=request.headers,
        body=request.body,
        remote_ip=None,
    )


def at(callback: Arrival, target: str) -> Arrival:
    """The callback, had it come to another URL."""
    path, _, query = target.partition("?")
    request = Request(method=callback.method, path=path, query=query, headers=callback.headers, body=callback.body)
    return callback_of(callback.provider, request, callback.received_at)


def kept(callback: Arrival) -> Callback:
    """The callback as `parse` gets it."""
    return callback.kept(PROVIDERS[callback.provider].HEADERS)


def prove(callback: Arrival, source: Source) -> str:
    """What proves the callback to its provider. Raises Rejected."""
    return providers.prove(PROVIDERS[callback.provider], callback, source)


def read(callback: Arrival, source: Source) -> list[Event | Malformed]:
    """What `parse` finds in the callback as it was kept; one Malformed if the whole is not understood."""
    found: list[Event | Malformed] = []
    try:
        found.extend(PROVIDERS[source.provider].parse(unpack(pack(kept(callback))), source))
    except Malformed as malformed:
        found.append(malformed)
    return found


def comparable(found: list[Event | Malformed], leave_out: str = "") -> list[object]:
    """What was found as values that can be compared, if need be without one field."""
    return [
        entry.reason if isinstance(entry, Malformed) else (type(entry), _values(entry, leave_out)) for entry in found
    ]


def _values(event: Event, leave_out: str) -> dict[str, object]:
    """The event's fields; that a name came twice is about the spelling, and no value."""
    extra = dict(event.extra)
    extra["notes"] = [note for note in extra.get("notes", []) if note != REPEATED]
    values = {**msgspec.structs.asdict(event), "extra": extra}
    return {name: value for name, value in values.items() if name != leave_out}


def is_respelled(altered: Arrival, callback: Arrival, source: Source) -> bool:
    """Whether only the spelling of a form has changed: a signature may cover its fields instead of its bytes."""
    form = "x-www-form-urlencoded" in callback.headers.get("content-type", "")
    return altered == callback or (form and comparable(read(altered, source)) == comparable(read(callback, source)))


@cache
def tables(provider: str) -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name(f"{provider}.toml").read_text("utf-8"))


def cases() -> Iterator[tuple[str, dict[str, Any]]]:
    for provider in PROVIDERS:
        for case in tables(provider)["case"]:
            yield provider, case


def request_in(case: dict[str, Any]) -> Request:
    body = bytes.fromhex(case["body_hex"]) if "body_hex" in case else case.get("body", "").encode()
    return Request(
        method=case.get("method", "POST"),
        path=case.get("path", ""),
        query=case.get("query", ""),
        headers={"content-type": "application/json", **case.get("headers", {})},
        body=body,
    )


def source_in(provider: str, case: dict[str, Any]) -> Source:
    """The source of a case: unless the case is about proof, one that needs none."""
    return source_of(provider, **{"unsigned": "proof" not in case, **case.get("source", {})})


class Sample(NamedTuple):
    """A case that is not about a refusal."""

    provider: str
    name: str
    source: Source
    callback: Arrival


def samples(provider: str) -> Iterator[Sample]:
    for owner, case in cases():
        if owner == provider and "rejected" not in case:
            callback = callback_of(provider, request_in(case), case.get("received_at", NOW))
            yield Sample(provider, case["name"], source_in(provider, case), callback)


def event_in(table: dict[str, Any]) -> Event:
    """The event of a case. In a key, `false` stands for None, which TOML lacks."""
    said = {name: value for name, value in table.items() if name != "notes"}
    said["key"] = tuple(part or None for part in said["key"])
    if "price" in said:
        said["price"] = Decimal(said["price"])
    if "attachments" in said:
        said["attachments"] = tuple(Attachment(**attached) for attached in said["attachments"])
    if said["key"][0] == "mo":
        return InboundMessage(**said)
    return DeliveryReport(**{**said, "status": Status(said["status"])})


def check_storable(event: Event) -> None:
    """What PostgreSQL takes, in the columns that the event is for."""
    assert event.message_id
    assert all(part is None or isinstance(part, str) for part in event.key)
    for name, value in msgspec.structs.asdict(event).items():
        match value:
            case str() if name != "text":
                assert 0 < len(value) <= 255, name
            case bool() | None:
                pass
            case int():
                assert 0 <= value < (2**15 if name.startswith("part_") else 2**31), name
            case Decimal():
                assert value.is_finite()
                assert value.adjusted() < 20
            case datetime():
                assert value.utcoffset() == timedelta(0)
                assert 1970 <= value.year < 9999
    for text in _texts(msgspec.json.decode(msgspec.json.encode(event))):
        assert "\0" not in text
        text.encode()


def _texts(value: object, depth: int = 0) -> Iterator[str]:
    assert depth < 25
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _texts(inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner, depth + 1)
    else:
        assert value is None or isinstance(value, bool) or (isinstance(value, int) and -(2**63) <= value < 2**63)
