"""The normalized vocabulary: what a callback reports, in the same words for every provider."""

import hashlib
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Self

import msgspec

SMS = (
    "sms"  # the channel of a message, unless its provider names another; those are in the provider's words, lower case
)


class Traffic(StrEnum):
    """Who is at the application's end of a message."""

    A2P = "a2p"  # an application: a short code or an alphanumeric sender
    P2P = "p2p"  # a person or a device: a full number


class Intent(StrEnum):
    """What the whole text of an inbound message asks for."""

    OPT_OUT = "opt_out"  # no more messages
    OPT_IN = "opt_in"  # messages again
    HELP = "help"  # information
    NONE = "none"  # anything else


class Reason(StrEnum):
    """Why a message was not delivered: the vocabulary of `delivery_reports.reason`, the same for every provider."""

    INVALID_DESTINATION = "invalid_destination"  # the recipient's number cannot exist
    UNKNOWN_DESTINATION = "unknown_destination"  # the recipient's number may exist, but is not in service
    UNREACHABLE = "unreachable"  # the handset is off, or out of reach
    LANDLINE = "landline"  # the recipient's number takes no SMS
    BLOCKED = "blocked"  # the message was blocked, by the network or by the recipient
    BLACKLISTED = "blacklisted"  # the recipient is on a blacklist of the provider
    DO_NOT_DISTURB = "do_not_disturb"  # the recipient is in a do-not-disturb register
    OPTED_OUT = "opted_out"  # the recipient has opted out
    FILTERED = "filtered"  # the content was filtered, as spam or by a rule
    DUPLICATE_CONTENT = "duplicate_content"  # the same text was sent to the same recipient a short time ago
    CONTENT_TOO_LARGE = "content_too_large"  # the message or its attachment is too large
    MMS_NOT_SUPPORTED = "mms_not_supported"  # the recipient's network or handset takes no MMS
    OUTSIDE_MESSAGING_WINDOW = "outside_messaging_window"  # the channel allows no message to this recipient now
    INVALID_SENDER = "invalid_sender"  # the sender address is not valid
    SENDER_NOT_ALLOWED = "sender_not_allowed"  # the sender address may not be used
    SENDER_NOT_REGISTERED = "sender_not_registered"  # the sender address must be registered first
    NO_ROUTE = "no_route"  # the provider has no route to the network
    RATE_LIMIT = "rate_limit"  # messages came faster than allowed
    DAILY_LIMIT = "daily_limit"  # the day's allowance is used up
    QUEUE_OVERFLOW = "queue_overflow"  # the provider's queue was full
    CREDIT = "credit"  # the account has no credit
    ACCOUNT_LIMIT = "account_limit"  # a limit of the account was reached
    ACCOUNT_SUSPENDED = "account_suspended"  # the account is suspended
    PRICE_LIMIT = "price_limit"  # the message costs more than its sender allows
    TEMPORARY = "temporary"  # a temporary failure
    UNKNOWN = "unknown"  # the provider does not know why


class Status(StrEnum):
    """The state of a sent message, as one delivery report has it.

    The order of the members matters: of two reports with the same rank and time, the one further down wins.
    A `final` state ends the delivery, though a higher rank may still replace it (a late `delivered` after
    `expired` does occur). SMPP's words are those of its `stat` field (SMPP 3.4, appendix B).
    """

    rank: int
    final: bool

    def __new__(cls, word: str, rank: int = 0, final: bool = False) -> Self:  # defaults: a word alone looks one up
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
    FAILED = "failed", 90, True  # failed, and the provider does not report how
    REJECTED = "rejected", 90, True  # REJECTD: refused at or before submission
    EXPIRED = "expired", 90, True  # EXPIRED: validity ran out
    DELETED = "deleted", 90, True  # DELETED: cancelled
    DELIVERED = "delivered", 100, True  # DELIVRD: arrived; nothing replaces it

    @property
    def position(self) -> int:
        """The row in the table above, counted from 0: the last tie-break between two states of one rank."""
        return _POSITIONS[self]


_POSITIONS = {status: position for position, status in enumerate(Status)}


class Attachment(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came along with a message: where it is, and its type and size in bytes where the provider reports them."""

    url: str
    content_type: str | None = None
    size_bytes: int | None = None


class InboundMessage(msgspec.Struct, frozen=True, kw_only=True):
    """An MO message, or one part of a long one.

    `key` is what makes it unique within its source, its kind (`mo`) first, as its provider's file describes.
    `traffic` and `segments` (how many SMS its text takes) are the classifier's; so are `intent` and `encoding` where
    the provider does not name them, and `encoding` where the text contradicts it.
    """

    key: tuple[str | None, ...]
    message_id: str
    channel: str = SMS
    sender: str | None = None
    recipient: str | None = None
    text: str = ""
    encoding: str | None = None  # gsm7, ucs2 or binary
    part_reference: str | None = None
    part_number: int | None = None
    part_count: int | None = None
    attachments: tuple[Attachment, ...] = ()
    sent_at: datetime | None = None
    traffic: Traffic | None = None
    intent: Intent = Intent.NONE
    segments: int | None = None
    extra: dict[str, Any] = {}


class DeliveryReport(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery report (receipt) of one MT message.

    `key` as above, its kind being `dr`. `sender` is the MT message's source address, where the receipt repeats it;
    `read`: the receipt reports that a person has seen the message. `traffic` is the classifier's.
    """

    key: tuple[str | None, ...]
    message_id: str
    channel: str = SMS
    sender: str | None = None
    recipient: str | None = None
    status: Status
    read: bool = False
    provider_status: str | None = None  # the word or code that decided the status
    error_code: str | None = None  # a separate error field of the provider, else None
    reason: Reason | None = None
    occurred_at: datetime | None = None
    price: Decimal | None = None
    currency: str | None = None
    parts: int | None = None
    traffic: Traffic | None = None
    extra: dict[str, Any] = {}


Event = InboundMessage | DeliveryReport


def dedupe_key(event: Event) -> bytes:
    """16 bytes that are equal for two events of one source exactly when the provider means the same event."""
    return _hash(event.key)


def fingerprint(event: Event) -> bytes:
    """8 bytes over what the event reports, without times and prices: equal keys with unequal fingerprints conflict."""
    return _hash(_content(event))[:8]


def _content(event: Event) -> list[Any]:
    """What two copies of one event must have in common: what the provider sent, without times and prices (an operator's
    re-push may differ there) and without our own words about it, which another release may choose differently."""
    both = [event.message_id, event.channel, event.sender, event.recipient]
    if isinstance(event, InboundMessage):
        parts = [event.part_reference, event.part_number, event.part_count]
        attached = [event.attachments] if event.attachments else []
        return [*both, event.text, None, None, None, *parts, *attached]
    return [*both, None, event.provider_status, event.error_code, event.parts, None, None, None]


def _hash(value: object) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(value), digest_size=16).digest()
