"""What is verified is what is kept and parsed, for every provider and any request.

`verify` and `parse` must read the same parameters, bodies and headers: else a request shows each of them what it wants
to see. And what the provider signs comes from a source with secrets only if it was signed.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

from shared import providers
from shared.callback import Arrival, Request, pack, unpack
from shared.errors import Malformed, Rejected
from shared.events import DeliveryReport, Event, InboundMessage, Status
from shared.payload.form import FORM_FIELDS
from shared.providers import PROVIDERS
from shared.source import Source
from tests.providers import mutations
from tests.providers.mutations import documents
from tests.providers.support import NOW, PATH, callback_of, kept, prove, read, samples, source_of, tables

SECRET = "the secret of the source"
SOURCES: list[dict[str, Any]] = [
    {"secrets": [SECRET]},
    {"secrets": [SECRET], "token": "t"},
    {"secrets": ["a newer one", SECRET], "unsigned": True},
    {"token": "t"},
    {"unsigned": True},
]
SIGNING = [provider for provider, module in PROVIDERS.items() if module.SIGNS]
MESSAGE = InboundMessage(key=(), message_id="1", sender="+3725555555", recipient="1234", text="STOP", sent_at=NOW)
RECEIPT = DeliveryReport(
    key=(), message_id="1", sender="1234", recipient="+3725555555", status=Status.DELIVERED, occurred_at=NOW
)
PARAMETERS = [
    "token=", "token=t", "token", "%74oken=t", "a=b", "", "=", "a", "a=%zz", "a=%", "a=\xff", "a=%FF", "a=\0",
    "tok\0en=t", "messageId=x", "messageId=", "%6dessageId=x", "message\0Id=x", "MESSAGEID=x", "messageid=m",
    "status=2", "type=0", "type=1", "content=STOP", "action=mo", "MessageSid=SM1", "Body=STOP", "bodySHA256=0",
    "sms_unique_id=1", "stat=DELIVRD",
]  # fmt: skip
BEFORE = [b"", b"\xef\xbb\xbf", b"\xbb", b" \r\n", b"\0", b"&", b"=&", b"{}&", b'{"messageId":null,']
BEHIND = [
    b"",
    b"\r\n",
    b"\0",
    b"&",
    b"&messageId=x",
    b"&messageid=y",
    b"&messageId=%ff",
    b"&a=%zz",
    b',"messageId":"x"}',
]


def verdict(callback: Arrival, source: Source) -> str:
    """What proved it, or why it was refused."""
    try:
        return prove(callback, source)
    except Rejected as rejected:
        return f"rejected: {rejected.reason}"


def again(callback: Arrival) -> Arrival:
    """What is left of a callback once it is kept and comes out of the inbox, with what only `verify` gets."""
    proof = {
        name: value for name, value in callback.headers.items() if name in PROVIDERS[callback.provider].PROOF_HEADERS
    }
    stored = unpack(pack(kept(callback)))
    return Arrival(**{**asdict(stored), "headers": stored.headers | proof, "target": callback.target})


def is_never_signed(callback: Arrival, event: Event) -> bool:
    """Whether the provider has no signature for such an event, as the `[proof]` of its cases says."""
    facts = {"kind": event.key[0], "key_parts": len(event.key), "method": callback.method}
    return any(kind.items() <= facts.items() for kind in tables(callback.provider)["proof"].get("never_signed", []))


def check(callback: Arrival, source: Source) -> tuple[str, list[Event]]:
    """What proved the callback, and the events in it if it was accepted."""
    proof = verdict(callback, source)
    assert verdict(again(callback), source) == proof
    if proof.startswith("rejected"):
        return proof, []
    events = [event for event in read(callback, source) if not isinstance(event, Malformed)]
    if source.secrets and proof in ("token", "unsigned"):
        assert all(is_never_signed(callback, event) for event in events), (callback, events)
    return proof, events


@cache
def requests(provider: str) -> list[Request]:
    """Those of the cases, and events as the provider sends them, signed with the source's secret and not."""
    found = [
        Request(method=callback.method, path=PATH, query=callback.query, headers=callback.headers, body=callback.body)
        for sample in samples(provider)
        for callback in [sample.callback, *(document.write(document.fields) for document in documents(sample.callback))]
    ]
    rendered = [replace(PROVIDERS[provider].render(event), path=PATH) for event in (MESSAGE, RECEIPT)]
    signed = [providers.sign(request, source_of(provider, secrets=[SECRET])) for request in rendered]
    return found + 5 * (rendered + signed)


# Made once: to make a strategy costs more than to draw from it.
_TWICE = "twice"  # as long as it was
_VALUES = st.sampled_from([None, "", "\0", "x", "mo", "dr", "MO", "mo, dr", "mo\0", _TWICE])
_MORE = st.lists(
    st.builds(
        lambda parameter, times: "&".join([parameter] * times),
        st.sampled_from(PARAMETERS),
        st.sampled_from([1, 1, 1, 2, FORM_FIELDS - 1, FORM_FIELDS, 100, 200]),
    ),
    max_size=3,
)
_BEFORE, _BEHIND = st.sampled_from(BEFORE), st.sampled_from(BEHIND)
_METHODS = st.sampled_from([None, None, "GET", "POST", "PATCH"])  # its own one, or another
_SOURCES = st.sampled_from(SOURCES)


@cache
def _request_of(provider: str) -> st.SearchStrategy[Request]:
    return st.sampled_from(requests(provider))


@cache
def _names_of(provider: str) -> st.SearchStrategy[set[str]]:
    return st.sets(st.sampled_from(sorted(PROVIDERS[provider].PROOF_HEADERS)), max_size=2)


@st.composite
def callbacks(draw: st.DrawFn, provider: str) -> Arrival:
    """A request of the provider with anything changed in it, most of it after it was signed."""
    request = draw(_request_of(provider))
    headers = dict(request.headers)
    for name in draw(_names_of(provider)):
        value = draw(_VALUES)
        was = headers.pop(name, "")
        if value is not None:
            headers[name] = was * 2 if value is _TWICE else value
    more = draw(_MORE)
    query = "&".join([*more, request.query] if draw(st.booleans()) else [request.query, *more])
    body = draw(_BEFORE) + request.body + draw(_BEHIND) if draw(st.booleans()) else request.body
    if draw(st.integers(0, 4)) == 0:
        query, body = body.decode("latin-1"), query.encode("latin-1", "replace")
    changed = Request(
        method=draw(_METHODS) or request.method,
        path=request.path,
        query=query,
        headers=headers,
        body=body,
    )
    return callback_of(provider, changed, datetime.now(UTC))


@pytest.mark.parametrize("provider", PROVIDERS)
@settings(max_examples=600, deadline=None)
@given(data=st.data())
def test_what_is_parsed_was_verified_as_it_is_kept(provider: str, data: st.DataObject) -> None:
    check(data.draw(callbacks(provider)), source_of(provider, **data.draw(_SOURCES)))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_so_it_is_for_every_case_in_any_spelling(provider: str) -> None:
    """And events do come through: signed ones, and such as are never signed."""
    seen = set()
    for keys in SOURCES:
        source = source_of(provider, **keys)
        for request in requests(provider):
            callback = callback_of(provider, request, datetime.now(UTC))
            spelled: Iterator[Arrival] = (
                other
                for document in documents(callback)
                for spell in mutations.SPELLINGS
                for other in spell(document, [])
            )
            for spelling in (callback, *spelled):
                proof, events = check(spelling, source)
                seen |= {(bool(source.secrets), proof.rstrip("-12"))} if events else set()
    if PROVIDERS[provider].SIGNS:
        assert (True, "secret") in seen
        assert (
            ((True, "token") in seen) is ((True, "unsigned") in seen) is ("never_signed" in tables(provider)["proof"])
        )
    assert {(False, "token"), (False, "unsigned")} <= seen


@pytest.mark.parametrize("extra", [{"token": "t"}, {"unsigned": True}], ids=["token", "unsigned"])
@pytest.mark.parametrize("padding", PARAMETERS)
@pytest.mark.parametrize("provider", SIGNING)
def test_no_padding_hides_what_must_be_signed(provider: str, padding: str, extra: dict[str, Any]) -> None:
    """A signed callback without its signature, in the body, in the URL and in both, among parameters of any number."""
    source = source_of(provider, secrets=[SECRET], **extra)
    for request in requests(provider)[-4:]:
        headers = {
            name: value for name, value in request.headers.items() if name not in PROVIDERS[provider].PROOF_HEADERS
        }
        for times in (1, 2, FORM_FIELDS - 9, FORM_FIELDS, 196, 2000):
            more = "&".join([padding] * times)
            fields = request.body.decode()
            for query, body in (
                (more, request.body),
                (f"{fields}&{more}", b""),
                (f"{more}&{fields}", b""),
                (fields, more.encode("latin-1")),
                ("", f"{more}&{fields}".encode("utf-8", "replace")),
            ):
                for method in PROVIDERS[provider].METHODS:
                    changed = Request(method=method, path=PATH, query=query, headers=headers, body=body)
                    _, events = check(callback_of(provider, changed), source)
                    assert not [event for event in events if not is_never_signed(callback_of(provider, changed), event)]
