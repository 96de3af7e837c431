"""Finding: what a text that somebody has at hand may mean, and the rows that it leads to.

A text may be a phone number in any spelling, a sender's name, a message id, a callback's id or the beginning of one. It
is looked up as all that it may be. What is shown of the rows is for whoever asks to decide.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from shared.callback import time_of
from shared.outcomes import Outcome
from workers.queries import DeadLetterRow, Queries

ID_CHARS = 8  # of a callback id that are enough to look for it: its time to about a minute
NUMBER_DIGITS = 3  # the fewest that are looked for as the end of a number
END_CHARS = 20  # of an address that are in the index

_HEX = re.compile(r"[0-9a-f]+")
_NUMBER = re.compile(r"[+\d][\d\s().\-/\u2010-\u2015]*|\([\d\s().\-/\u2010-\u2015+]+")
_INTERNATIONAL = re.compile(r"[\s(]*(\+|00)")
_LIKE = re.compile(r"([\\%_])")


class FoundCallback(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `callbacks`, without its raw bytes."""

    id: UUID
    received_at: datetime
    source: str
    provider: str
    outcome: Outcome
    conflict: bool
    test: bool


class FoundMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `inbound_messages`."""

    callback_id: UUID
    source: str
    provider: str
    message_id: str
    channel: str
    sender: str | None
    recipient: str | None
    text: str
    part_number: int | None
    part_count: int | None
    traffic: str | None
    intent: str
    received_at: datetime
    test: bool


class FoundDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `deliveries`."""

    source: str
    provider: str
    message_id: str
    recipient: str | None
    status: str
    final: bool
    error_code: str | None
    reason: str | None
    read_at: datetime | None
    first_report_at: datetime
    updated_at: datetime
    reports: int
    test: bool


class FoundReport(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `delivery_reports`."""

    callback_id: UUID
    source: str
    provider: str
    message_id: str
    channel: str
    sender: str | None
    recipient: str | None
    status: str
    error_code: str | None
    reason: str | None
    occurred_at: datetime | None
    received_at: datetime
    test: bool


class Found(NamedTuple):
    """Everything that a text leads to, the newest first."""

    callbacks: list[FoundCallback]
    messages: list[FoundMessage]
    deliveries: list[FoundDelivery]
    reports: list[FoundReport]
    dead_letters: list[DeadLetterRow]


class Meaning(NamedTuple):
    """What a text may mean. `ids`: the first and the last callback id that begin so. `end`: a pattern for LIKE that an
    address written backwards matches. `exact`: the spellings of the address, of which it must be one; None where its
    end is all that is known. `is_number`: it may be a phone number or a short code."""

    text: str
    ids: tuple[UUID, UUID] | None
    end: str | None
    exact: list[str] | None
    is_number: bool


def meaning_of(text: str) -> Meaning:
    """All that this text may mean.

    A number with its country code, after + or 00, is that number. Any other is compared by its end, without a leading
    0: the country of a national number is not known.
    """
    text = text.strip()
    digits = _digits(text)
    if digits is None:
        return Meaning(text, _ids(text), _pattern(text), [text], is_number=False)
    if sign := _INTERNATIONAL.match(text):
        digits = digits.removeprefix("00") if sign[1] == "00" else digits
        return Meaning(text, _ids(text), _pattern(digits), [f"+{digits}", digits, f"00{digits}"], is_number=True)
    return Meaning(text, _ids(text), _pattern(digits.removeprefix("0")), None, is_number=True)


def find(queries: Queries, text: str, limit: int) -> Found:
    """What this text leads to, at most `limit` rows of each kind. Where several callback ids begin so, nothing is shown
    of what these callbacks brought. Raises psycopg.Error."""
    meaning = meaning_of(text)
    callbacks = _begun_so(queries, meaning.ids, limit)
    if len(callbacks) > 1 and not meaning.is_number:
        return Found(callbacks, [], [], [], [])
    sought: dict[str, Any] = {**meaning._asdict(), "limit": limit}
    messages = list(queries.select(FoundMessage, "find/messages", sought))
    brought: list[FoundReport] = []
    for callback in callbacks if len(callbacks) == 1 else ():
        key = {"id": callback.id, "received_at": callback.received_at}
        messages += queries.select(FoundMessage, "find/brought_messages", key)
        brought += queries.select(FoundReport, "find/brought_reports", key)
    sought["message_ids"] = [meaning.text, *{report.message_id for report in brought}]
    deliveries = list(queries.select(FoundDelivery, "find/deliveries", sought))
    reports = _united(brought, _reports_of(queries, deliveries, limit))
    callbacks = _united(callbacks, _bringers(queries, [*messages, *reports]))
    ids = [callback.id for callback in callbacks]
    dead_letters = list(queries.select(DeadLetterRow, "find/dead_letters", {"ids": ids}))
    return Found(callbacks[:limit], messages[:limit], deliveries, reports[:limit], dead_letters[:limit])


def _begun_so(queries: Queries, ids: tuple[UUID, UUID] | None, limit: int) -> list[FoundCallback]:
    if ids is None:
        return []
    first, last = ids
    times = {"from": time_of(first), "to": time_of(last) + timedelta(milliseconds=1)}
    return list(
        queries.select(FoundCallback, "find/callbacks", {**times, "first": first, "last": last, "limit": limit})
    )


def _reports_of(queries: Queries, deliveries: Sequence[FoundDelivery], limit: int) -> Iterable[FoundReport]:
    keys = {
        "sources": [delivery.source for delivery in deliveries],
        "message_ids": [delivery.message_id for delivery in deliveries],
    }
    return queries.select(FoundReport, "find/reports", {**keys, "limit": limit})


def _bringers(queries: Queries, events: Sequence[FoundMessage | FoundReport]) -> Iterable[FoundCallback]:
    keys = {(event.received_at, event.callback_id) for event in events}
    parameters = {"times": [time for time, _ in keys], "ids": [id for _, id in keys]}
    return queries.select(FoundCallback, "find/bringers", parameters)


def _united(rows: Sequence[Any], others: Iterable[Any]) -> list[Any]:
    """All of these rows, each once, the newest first."""
    distinct = [*rows, *(other for other in others if other not in rows)]
    return sorted(distinct, key=lambda row: row.received_at, reverse=True)


def _ids(text: str) -> tuple[UUID, UUID] | None:
    """The first and the last id of a callback that begins so; None for what begins none."""
    begun = text.lower().replace("-", "")
    if not (ID_CHARS <= len(begun) <= 32 and _HEX.fullmatch(begun)):
        return None
    first, last = UUID(begun.ljust(32, "0")), UUID(begun.ljust(32, "f"))
    try:
        time_of(last)
    except OverflowError:  # a year of five digits
        return None
    return first, last


def _digits(text: str) -> str | None:
    """The digits of what may be a phone number or a short code; None for anything else."""
    digits = "".join(character for character in text if character in "0123456789")
    return digits if _NUMBER.fullmatch(text) and NUMBER_DIGITS <= len(digits) <= END_CHARS else None


def _pattern(end: str) -> str:
    """For LIKE: what an address that ends so begins with when it is written backwards."""
    return _LIKE.sub(r"\\\1", end[-END_CHARS:][::-1]) + "%"
