"""The vocabulary of states, and what makes two events the same."""

import hashlib
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.events import Attachment, DeliveryReport, Event, InboundMessage, Status, dedupe_key, fingerprint

MESSAGE = InboundMessage(key=("mo", "1"), message_id="1")
REPORT = DeliveryReport(key=("dr", "1", "4"), message_id="1", status=Status.DELIVERED)
NOW = datetime(2024, 5, 1, tzinfo=UTC)

keys = st.lists(st.none() | st.text(max_size=20), max_size=5).map(tuple)


def message(key: tuple[str | None, ...]) -> InboundMessage:
    return InboundMessage(key=key, message_id="1")


# Status


def test_the_states_are_those_of_the_public_tables() -> None:
    words = "accepted queued sent delivered undelivered failed rejected expired deleted unknown"
    assert {str(status) for status in Status} == set(words.split())


def test_a_state_is_found_by_its_word_and_written_as_it() -> None:
    for status in Status:
        assert Status(status.value) is status
        assert msgspec.json.decode(msgspec.json.encode(status), type=Status) is status


def test_positions_follow_the_table_and_ranks_never_fall() -> None:
    assert [status.position for status in Status] == list(range(len(Status)))
    assert all(earlier.rank <= later.rank for earlier, later in pairwise(Status))


def test_exactly_the_states_that_end_a_delivery_are_final_and_outrank_the_others() -> None:
    final = {status for status in Status if status.final}
    assert final == {
        Status.DELIVERED,
        Status.UNDELIVERED,
        Status.FAILED,
        Status.REJECTED,
        Status.EXPIRED,
        Status.DELETED,
    }
    assert min(status.rank for status in final) > max(status.rank for status in set(Status) - final)


def test_nothing_replaces_delivered() -> None:
    assert all(status.rank < Status.DELIVERED.rank for status in Status if status is not Status.DELIVERED)


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        REPORT.status = Status.FAILED  # type: ignore[misc]


# Dedupe key


def test_the_dedupe_key_is_the_one_in_the_database() -> None:
    assert dedupe_key(REPORT) == hashlib.blake2b(b'["dr","1","4"]', digest_size=16).digest()
    assert (
        dedupe_key(message(("mo", None, "ä"))) == hashlib.blake2b('["mo",null,"ä"]'.encode(), digest_size=16).digest()
    )


@given(keys, keys)
def test_dedupe_keys_are_equal_exactly_when_the_keys_are(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert (dedupe_key(message(one)) == dedupe_key(message(other))) is (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("mo", "a", "b"), ("mo", "ab")),
        (("mo", "a", ""), ("mo", "a")),
        (("mo", ""), ("mo", None)),
        (("mo", "null"), ("mo", None)),
        (("mo", 'a","b'), ("mo", "a", "b")),
        (("mo", "1"), ("dr", "1")),
    ],
)
def test_keys_that_look_alike_are_not_the_same(one: tuple[str | None, ...], other: tuple[str | None, ...]) -> None:
    assert dedupe_key(message(one)) != dedupe_key(message(other))


def test_only_the_key_makes_an_event_the_same() -> None:
    assert dedupe_key(MESSAGE) == dedupe_key(msgspec.structs.replace(MESSAGE, message_id="2", text="other"))


# Fingerprint

SAME: dict[str, Any] = {
    "key": ("other",),
    "sent_at": NOW,
    "occurred_at": NOW,
    "price": Decimal("0.05"),
    "currency": "EUR",
    "extra": {"a": 1},
    "traffic": "a2p",
    "intent": "opt_out",
    "encoding": "ucs2",
    "segments": 2,
    "status": Status.FAILED,
    "read": True,
    "reason": "credit",
}
OTHER: dict[str, Any] = {
    "message_id": "2",
    "channel": "rcs",
    "sender": "+1",
    "recipient": "+2",
    "text": "other",
    "attachments": (Attachment("https://media.example.com/1"),),
    "part_reference": "9",
    "part_number": 1,
    "part_count": 2,
    "provider_status": "4",
    "error_code": "5",
    "parts": 3,
}


def changes() -> list[Any]:
    return [
        pytest.param(event, name, id=f"{type(event).__name__}-{name}")
        for event in (MESSAGE, REPORT)
        for name in event.__struct_fields__
    ]


@pytest.mark.parametrize(("event", "name"), changes())
def test_a_fingerprint_is_over_what_the_event_says_without_times_and_prices(event: Event, name: str) -> None:
    assert (name in SAME) is not (name in OTHER)
    changed = msgspec.structs.replace(event, **{name: (SAME | OTHER)[name]})
    assert changed != event
    assert len(fingerprint(changed)) == 8
    assert (fingerprint(changed) == fingerprint(event)) is (name in SAME)


def test_the_fingerprint_is_the_one_in_the_database() -> None:
    said = b'["1","sms",null,null,"hi",null,null,null,null,null,null]'
    expected = hashlib.blake2b(said, digest_size=16).digest()[:8]
    assert fingerprint(msgspec.structs.replace(MESSAGE, text="hi")) == expected
