"""Properties of every provider's `parse` and `render`: nothing but Malformed, nothing that PostgreSQL refuses, and what
is rendered is read again."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.callback import Request
from shared.errors import Malformed
from shared.events import Attachment, DeliveryReport, Event, InboundMessage, Status
from shared.providers import PROVIDERS
from tests.providers.support import callback_of, cases, check_storable, event_in, kept, source_of, tables


def parse(provider: str, request: Request) -> list[Event | Malformed]:
    callback = kept(callback_of(provider, request))
    return list(PROVIDERS[provider].parse(callback, source_of(provider, unsigned=True)))


# ---- whatever comes


def documents(provider: str) -> list[tuple[str, dict[str, Any]]]:
    """The method and the fields of every case that has any, from JSON or a form."""
    found = []
    for owner, case in cases():
        body, method = case.get("body", ""), case.get("method", "POST")
        try:
            document = json.loads(body)
        except ValueError:
            document = dict(parse_qsl(body or case.get("query", "")))
        if owner == provider and document and isinstance(document, dict):
            found.append((method, document))
    return found


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.text(st.characters(categories=["Cs", "Cc", "Nd", "Zs"]))
    | st.integers().map(str)
    | st.decimals().map(str)
    | st.datetimes().map(str)
    | st.datetimes(timezones=st.timezones()).map(datetime.isoformat)
    | st.sampled_from(
        ["", " ", "0", "4", "10", "+372", " 372", "00372", "1e9999", "9" * 300, "\0", "DELIVRD", "¤cy=USD"]
    )
)


def spoiled(provider: str) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """A case's fields, some of them replaced by anything."""
    names = st.sampled_from(sorted({name for _, document in documents(provider) for name in document}))
    junk = st.recursive(
        SCALARS, lambda values: st.lists(values, max_size=3) | st.dictionaries(names | st.text(), values, max_size=5)
    )

    def spoil(case: tuple[str, dict[str, Any]], other: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        method, document = case
        nested = {
            name: value | other[name]
            for name, value in document.items()
            if isinstance(value, dict) and isinstance(other.get(name), dict)
        }
        return method, {**document, **other, **nested}

    return st.builds(
        spoil, st.sampled_from(documents(provider)), st.dictionaries(names | st.text(max_size=3), junk, max_size=3)
    )


def as_requests(method: str, document: dict[str, Any]) -> list[Request]:
    form = urlencode({name: str(value) for name, value in document.items()}, errors="replace")
    return [
        Request(method=method, body=json.dumps(document).encode()),
        Request(method=method, body=json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")),
        Request(method=method, body=form.encode(), headers={"action": "dr"}),
        Request(method=method, body=form.encode()),
        Request(method=method, query=form),
    ]


def requests(provider: str) -> st.SearchStrategy[Request]:
    anything = st.builds(
        Request,
        method=st.sampled_from(["GET", "POST", "PATCH"]),
        query=st.text(),
        headers=st.sampled_from([{}, {"action": "mo"}, {"action": "\udcff"}]),
        body=st.binary(),
    )
    return anything | spoiled(provider).map(lambda case: as_requests(*case)).flatmap(st.sampled_from)


@pytest.mark.parametrize("provider", PROVIDERS)
@given(data=st.data())
def test_parse_raises_nothing_but_malformed(provider: str, data: st.DataObject) -> None:
    request = data.draw(requests(provider))
    try:
        found = parse(provider, request)
    except Malformed as malformed:
        found = [malformed]
    for event in found:
        if isinstance(event, Malformed):
            assert 0 < len(event.reason) <= 60
            assert len(event.detail) <= 200
        else:
            check_storable(event)
            assert PROVIDERS[provider].render(event).method in PROVIDERS[provider].METHODS


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"id":' * 100_000, b'{"a":' + b"[" * 900 + b"]" * 900 + b"}", b"9" * 5000]
)
def test_depth_and_length(provider: str, body: bytes) -> None:
    with pytest.raises(Malformed):
        parse(provider, Request(method="POST", body=body))


# ---- there and back

NUMBERS = (
    st.from_regex(r"\A\+[1-9][0-9]{8,14}\Z") | st.from_regex(r"\A[0-9]{1,8}\Z") | st.from_regex(r"\A[A-Za-z]{1,11}\Z")
)
ATTACHMENTS = st.builds(
    Attachment,
    st.integers(0, 99).map(lambda number: f"https://media.example.com/{number}"),
    st.sampled_from([None, "image/gif"]),
)
IDS = st.integers(0, 10**18).map(str) | st.uuids().map(str)


def events(provider: str) -> st.SearchStrategy[Event]:
    wire = tables(provider)["wire"]

    def at_unit(time: datetime) -> datetime:
        return time - timedelta(microseconds=time.microsecond % wire["time_unit_us"])

    first, last = datetime(1970, 1, 2), datetime(9998, 12, 30)  # noqa: DTZ001 - Hypothesis adds the zone
    times = st.none() | st.datetimes(first, last, timezones=st.just(UTC)).map(at_unit)
    prices = st.none() | st.decimals(0, 10**6, places=4)
    fields: dict[str, st.SearchStrategy[Any]] = {
        "message_id": IDS,
        "channel": st.sampled_from(["sms", "viber", "whatsapp"]),
        "sender": st.none() | NUMBERS,
        "recipient": st.none() | NUMBERS,
        "text": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
        "encoding": st.sampled_from(["gsm7", "ucs2", "binary"]),
        "attachments": st.lists(ATTACHMENTS, max_size=10).map(tuple),
        "sent_at": times,
        "occurred_at": times,
        "status": st.sampled_from([Status(word) for word in wire["statuses"]]),
        "price": prices,
        "currency": st.sampled_from([None, "USD", "CNY"]),
        "parts": st.none() | st.integers(0, 2**31 - 1),
    }
    parts = st.fixed_dictionaries(
        {"part_reference": IDS, "part_number": st.integers(1, 255), "part_count": st.integers(1, 255)}
    )

    def carried(kind: str) -> st.SearchStrategy[dict[str, Any]]:
        alone = st.fixed_dictionaries({name: fields[name] for name in wire[kind] if name in fields})
        if "part_count" not in wire[kind]:
            return alone
        return st.builds(lambda one, other: one | other, alone, parts | st.just({}))

    def receipt(said: dict[str, Any], read: bool) -> DeliveryReport:
        read = read and "read" in wire["receipt"] and said["status"] is Status.DELIVERED
        return DeliveryReport(key=(), read=read, **said)

    messages = carried("message").map(lambda said: InboundMessage(key=(), **said))
    as_said = st.builds(
        lambda said, state: DeliveryReport(key=(), **(said | state)), carried("receipt"), states(provider)
    )
    return messages | st.builds(receipt, carried("receipt"), st.booleans()) | as_said


STATE = ("status", "read", "provider_status", "error_code", "reason")  # what goes with what, the cases know


def states(provider: str) -> st.SearchStrategy[dict[str, Any]]:
    as_said = [
        event_in(table)
        for owner, case in cases()
        if owner == provider
        for table in case.get("event", [])
        if "key" in table
    ]
    return st.sampled_from(
        [{name: getattr(event, name) for name in STATE} for event in as_said if isinstance(event, DeliveryReport)]
    )


@pytest.mark.parametrize("provider", PROVIDERS)
@given(data=st.data())
def test_what_is_rendered_is_read_again(provider: str, data: st.DataObject) -> None:
    event = data.draw(events(provider))
    (first,) = parse(provider, PROVIDERS[provider].render(event))
    assert isinstance(first, type(event))
    carried = set(tables(provider)["wire"]["message" if isinstance(event, InboundMessage) else "receipt"])
    carried |= {name for name in ("error_code", "reason") if getattr(event, name, None)}
    assert {name: getattr(first, name) for name in carried} == {name: getattr(event, name) for name in carried}
    assert parse(provider, PROVIDERS[provider].render(first)) == [first]


@pytest.mark.parametrize(
    ("provider", "table"),
    [
        pytest.param(provider, table, id=f"{provider}: {case['name']}")
        for provider, case in cases()
        for table in case.get("event", [])
        if "malformed" not in table
    ],
)
def test_the_event_of_a_case_survives_a_round_trip(provider: str, table: dict[str, Any]) -> None:
    event = event_in(table)
    (again,) = parse(provider, PROVIDERS[provider].render(event))
    assert not isinstance(again, Malformed)
    unlike = {"key", "extra"} | {name for name in ("error_code", "encoding") if getattr(event, name, None) is None}
    assert {name: value for name, value in msgspec.structs.asdict(again).items() if name not in unlike} == {
        name: value for name, value in msgspec.structs.asdict(event).items() if name not in unlike
    }


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("twilio", "MessageSid=SM1&From=%2B8613800138000&Body=%C4%E3%BA%C3"),
        ("nxcloud", "messageId=1&type=0&fromPhone=8613800138000&content=%C4%E3%BA%C3"),
    ],
)
def test_a_form_is_read_in_the_charset_that_it_names(provider: str, body: str) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded; charset=GBK"}
    (event,) = parse(provider, Request(method="POST", headers=headers, body=body.encode()))
    assert isinstance(event, InboundMessage)
    assert (event.text, event.extra.get("notes")) == ("你好", None)
