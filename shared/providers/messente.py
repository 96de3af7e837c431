"""Messente: SMS and other channels.

Sends by POST, in JSON, inbound messages and a receipt for every change of a message's state (Omnichannel); the answer
to a status query, a list of such states, is read too. The older SMS API sends its receipts as a GET that is not signed.
Signs each POST: `X-Messente-Signature` is the HMAC-SHA256 of the body in hex. The key of inbound messages is the
number's Shared Secret, that of receipts the password of the API key that sent the message: one URL may need both.
There is no timestamp; a repeated callback is caught by its dedupe key.
Retries a receipt until it gets 200 to 399, how often is not documented; the older GET is repeated 5 times.
Unique: of an inbound message msg_id and sub_msg_id, of a receipt message_id, status and err. Receipts come in any
order: SEEN may come before DELIVRD.
Times without a zone are UTC.
From: Messente documentation, Omnichannel API / "Inbound Messages" and "Delivery Report", API Setup / "Security", SMS
Messaging API / "Delivery Report".
"""

from collections.abc import Iterator, Mapping, Set
from typing import Any

from shared import signing
from shared.callback import Arrival, Callback, Request
from shared.errors import Malformed
from shared.events import SMS, DeliveryReport, Event, InboundMessage, Reason, Status
from shared.payload import Fields
from shared.providers import Console, Reply
from shared.providers._kit import BodyHmac, Meaning, Statuses, json_request, time_text, unsigned_step, where
from shared.source import Option, Source

METHODS = ("POST", "GET")
HEADERS: frozenset[str] = frozenset()
PROOF_HEADERS = frozenset({"x-messente-signature"})
BODY_LIMIT_BYTES = 64 * 1024
FIELDS = frozenset(
    "msg_id sub_msg_id channel recipient time text sender "  # inbound
    "message_id omnimessage_id to status err error timestamp price_info statuses "  # receipts
    "sms_unique_id stat".split()  # the older API's receipts
)
SIGNS = True
TIMEZONE = "UTC"
OPTIONS: Mapping[str, Option] = {}
EXAMPLE = """
# The number's Shared Secret signs inbound messages, the password of the API key signs delivery reports.
secrets = ["${MESSENTE_SHARED_SECRET}", "${MESSENTE_API_PASSWORD}"]
"""
CONSOLE = Console(
    "inbound messages: Developers → Inbound Numbers; receipts: the webhook of the HTTP API key, or `dlr_url` of each"
    " request",
    given={
        "MESSENTE_SHARED_SECRET": "the Shared Secret of the number",
        "MESSENTE_API_PASSWORD": "the password of the API key that sends the messages",
    },
)

STATUSES = Statuses(
    {
        "ACK": Status.ACCEPTED,
        "ACCEPTD": Status.ACCEPTED,
        "SENT": Status.SENT,  # only in the older API
        "DELIVRD": Status.DELIVERED,
        "DELIVERED": Status.DELIVERED,  # only in the older API
        "SEEN": Meaning(Status.DELIVERED, read=True),
        "UNDELIV": Status.UNDELIVERED,
        "FAILED": Status.FAILED,
        "UNKNOWN": Status.UNKNOWN,
        "REJECTD": Status.REJECTED,
        "NACK": Status.REJECTED,
        "DELETED": Status.DELETED,
        "EXPIRED": Status.EXPIRED,
    }
)
_LEFT_OPEN = frozenset({Status.UNDELIVERED, Status.FAILED, Status.UNKNOWN})  # to be refined by `err`
ERRORS: Mapping[int, Status | Reason | Meaning] = {
    2: Status.EXPIRED,
    3: Reason.INVALID_DESTINATION,
    4: Meaning(Status.REJECTED, Reason.CREDIT),
    5: Reason.INVALID_DESTINATION,
    6: Meaning(Status.REJECTED, Reason.DUPLICATE_CONTENT),
    7: Meaning(Status.REJECTED, Reason.SENDER_NOT_ALLOWED),
    8: Meaning(Status.REJECTED, Reason.BLACKLISTED),
    9: Meaning(Status.REJECTED, Reason.NO_ROUTE),
    10: Meaning(Status.DELIVERED, read=True),
    999: Reason.TEMPORARY,
}
_SIGNATURE = BodyHmac("x-messente-signature")
_TIME = "%Y-%m-%dT%H:%M:%S.%f"


def verify(arrival: Arrival, source: Source) -> str:
    """Every POST needs a signature. The older GET has none: a token or `unsigned` must do."""
    return signing.proof_without_signature(source) if _is_older(arrival) else _SIGNATURE.verify(arrival, source)


def _is_older(arrival: Arrival) -> bool:
    return arrival.method == "GET"


PROOF = (
    unsigned_step(_is_older, "a GET of the older SMS API"),
    *where(lambda arrival: not _is_older(arrival), _SIGNATURE.steps),
)


def parse(callback: Callback, source: Source) -> Iterator[Event | Malformed]:
    """A POST is read from its body alone and a GET from its query alone: a signature covers nothing else."""
    if callback.method == "GET":
        fields = Fields.from_form(source, b"", callback.query, callback.headers.get("content-type", ""))
        # Its URL may have had parameters of the user's own, which are not the provider's.
        yield _receipt(fields, fields.identity("sms_unique_id"), _older_word(fields), fields.names())
        return
    fields = Fields.from_json(source, callback.body)
    if isinstance(fields.values.get("statuses"), list):
        for state in fields.groups("statuses", FIELDS):
            try:
                yield _state(state)
            except Malformed as malformed:
                yield malformed
    elif "msg_id" in fields:
        yield _message(fields)
    elif "message_id" in fields:
        yield _state(fields)
    else:
        raise Malformed("no msg_id or message_id")


REPLY = Reply()


def _message(fields: Fields) -> InboundMessage:
    message_id, part_id = fields.identity("msg_id"), fields.distinction("sub_msg_id")
    return InboundMessage(
        key=("mo", message_id, part_id),
        message_id=message_id,
        channel=_channel(fields),
        sender=fields.phone("sender"),
        recipient=fields.phone("recipient"),
        text=fields.text("text") or "",
        sent_at=fields.time("time"),
        extra=fields.rest(FIELDS, "sub_msg_id"),
    )


def _state(fields: Fields) -> DeliveryReport:
    """A receipt, or one element of a status query's answer. A null status means that the message still waits."""
    message_id = fields.identity("message_id")
    word = fields.distinction("status")
    if word is None and fields.values.get("status", "") is not None:
        raise Malformed("no status")
    return _receipt(fields, message_id, word)


def _receipt(fields: Fields, message_id: str, word: str | None, documented: Set[str] = FIELDS) -> DeliveryReport:
    word = word.upper() if word else None
    meaning = STATUSES.read(word, fields) if word else Meaning(Status.QUEUED)
    error = fields.integer("err")
    if meaning.status in _LEFT_OPEN and error is not None:
        meaning = meaning.refined(ERRORS.get(error))
    price = fields.group("price_info")
    error_code = fields.word("err") if error is None else str(error)
    return DeliveryReport(
        key=("dr", message_id, word, error_code),
        message_id=message_id,
        channel=_channel(fields),
        sender=fields.phone("sender"),
        recipient=fields.phone("to"),
        status=meaning.status,
        read=meaning.read,
        provider_status=word,
        error_code=error_code,
        reason=meaning.reason,
        occurred_at=fields.time("timestamp"),
        price=price.decimal("total_price"),
        parts=price.integer("parts_count"),
        extra=fields.rest(documented),
    )


def _older_word(fields: Fields) -> str:
    """`stat`, SMPP's word, else `status`, which is less exact. Raises Malformed without either."""
    return fields.distinction("stat", "status") or fields.identity("status")


def _channel(fields: Fields) -> str:
    return (fields.word("channel") or SMS).lower()


def render(event: Event) -> Request:
    if isinstance(event, InboundMessage):
        document = {
            "msg_id": event.message_id,
            "sub_msg_id": event.extra.get("sub_msg_id", event.message_id),
            "channel": event.channel,
            "recipient": event.recipient,
            "time": time_text(event.sent_at, _TIME + "Z"),
            "text": event.text,
            "sender": event.sender,
        }
    else:
        document = {
            "status": _word(event),
            "sender": event.sender,
            "err": 0 if event.error_code is None else event.error_code,
            "message_id": event.message_id,
            "to": event.recipient,
            "channel": event.channel,
            "error": event.extra.get("error"),
            "omnimessage_id": event.extra.get("omnimessage_id", event.message_id),
            "timestamp": time_text(event.occurred_at, _TIME),
        }
        if event.price is not None or event.parts is not None:
            document["price_info"] = _price(event)
    return json_request(document)


def sign(request: Request, source: Source) -> Request:
    return request if request.method == "GET" else _SIGNATURE.sign(request, source)


def _word(event: DeliveryReport) -> str | None:
    """The event's own word, else the one for its state; null means queued."""
    if event.provider_status is not None or event.status is Status.QUEUED:
        return event.provider_status
    return STATUSES.word(event)


def _price(event: DeliveryReport) -> dict[str, Any]:
    price = None if event.price is None else str(event.price)
    return {**event.extra.get("price_info", {}), "parts_count": event.parts, "total_price": price}
