"""The normalized vocabulary: what a callback says, in the same words for every provider."""

import hashlib
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal, Self

import msgspec

Traffic = Literal["a2p", "p2p"]
Intent = Literal["opt_out", "opt_in", "help", "none"]


class Status(StrEnum):
    """The state of a sent message, as one delivery report tells it.

    The order of the members matters: of two reports with the same rank and time, the one further down wins.
    A `final` state ends the delivery, though a higher rank may still replace it (a late `delivered` after
    `expired` does occur). SMPP's words are those of its `stat` field (SMPP 3.4, appendix B).
    """

    rank: int
    final: bool

    def __new__(cls, word: str, rank: int, final: bool) -> Self:
        member = str.__new__(cls, word)
        member._value_ = word
        member.rank = rank
        member.final = final
        return member

    QUEUED = "queued", 10, False  # SCHEDULED: waiting at the provider
    ACCEPTED = "accepted", 20, False  # ACCEPTD: taken by provider or operator
    SENT = "sent", 30, False  # ENROUTE: handed to the network
    UNKNOWN = "unknown", 50, False  # UNKNOWN: the provider lost track; any final state replaces it
    UNDELIVERED = "undelivered", 90, True  # UNDELIV: the network tried, the handset did not take it
    FAILED = "failed", 90, True  # failed, and the provider does not say which way
    REJECTED = "rejected", 90, True  # REJECTD: refused at or before submission
    EXPIRED = "expired", 90, True  # EXPIRED: validity ran out
    DELETED = "deleted", 90, True  # DELETED: cancelled
    DELIVERED = "delivered", 100, True  # DELIVRD: arrived; nothing replaces it

    @property
    def position(self) -> int:
        """The row in the table above, counted from 0: the last tie-break between two states of one rank."""
        return _POSITIONS[self]


_POSITIONS = {status: position for position, status in enumerate(Status)}


class InboundMessage(msgspec.Struct, frozen=True, kw_only=True):
    """An MO message, or one part of a long one.

    `key` is what makes it unique within its source, its kind (`mo`) first, as its provider's file says.
    `traffic`, `intent` and `segments` (how many SMS its text takes) are the classifier's, and `encoding` too where
    the provider does not tell it.
    """

    key: tuple[str | None, ...]
    message_id: str
    channel: str = "sms"
    sender: str | None = None
    recipient: str | None = None
    text: str = ""
    encoding: str | None = None  # gsm7, ucs2 or binary
    part_reference: str | None = None
    part_number: int | None = None
    part_count: int | None = None
    sent_at: datetime | None = None
    traffic: Traffic | None = None
    intent: Intent = "none"
    segments: int | None = None
    extra: dict[str, Any] = {}


class DeliveryReport(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery report (receipt) of one MT message.

    `key` as above, its kind being `dr`. `sender` is the MT message's source address, where the receipt repeats it;
    `read` says that the receipt tells of a message seen by a person. `traffic` is the classifier's.
    """

    key: tuple[str | None, ...]
    message_id: str
    channel: str = "sms"
    sender: str | None = None
    recipient: str | None = None
    status: Status
    read: bool = False
    provider_status: str | None = None  # the word or code that decided the status
    error_code: str | None = None  # a separate error field of the provider, else None
    reason: str | None = None
    occurred_at: datetime | None = None
    price: Decimal | None = None
    currency: str | None = None
    parts: int | None = None
    traffic: Traffic | None = None
    extra: dict[str, Any] = {}


Event = InboundMessage | DeliveryReport

# What two copies of one event must have in common: what the provider said, without times and prices (an operator's
# re-push may differ there) and without our own words about it, which another release may choose differently.
_SAID = (
    *("message_id", "channel", "sender", "recipient", "text", "provider_status", "error_code", "parts"),
    *("part_reference", "part_number", "part_count"),
)


def dedupe_key(event: Event) -> bytes:
    """16 bytes that are equal for two events of one source exactly when the provider means the same event."""
    return _hash(event.key)


def fingerprint(event: Event) -> bytes:
    """8 bytes over what the event says, without times and prices: equal keys with unequal fingerprints conflict."""
    return _hash([getattr(event, name, None) for name in _SAID])[:8]


def _hash(value: object) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(value), digest_size=16).digest()
