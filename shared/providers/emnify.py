"""emnify, also sold as 1NCE and BICS: SMS of IoT devices.

Sends two things to one URL: an MO message by POST, the receipt of an MT message by PATCH, both JSON. 1NCE's newer
streams send the receipt by POST as well, so the content distinguishes them. A receipt names no phone number: its
recipient is the endpoint.
Signs with a JWT in `Authorization: Bearer` when the callback has an `api_secret`. The token does not cover the body;
a repeated one is caught by its dedupe key.
Retries whatever was not answered with 2XX (1NCE: with 200), after about 5 and 15 minutes, then for 24 hours.
Unique: the organisation, the kind and the id, because MO and MT ids come from one counter; of a long message also the
part, of a receipt also the status.
Times without a zone are UTC.
From: emnify docs, "SMS callbacks" (before: "Receive MO SMS via API Callback"); 1NCE developer hub, "SMS Forwarder
Service" and the "SMS Events" of the Forwarder and of the Data Streamer; 3GPP TS 23.038, 4.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from shared import payload, signing
from shared.callback import Arrival, Callback, Request
from shared.errors import Malformed
from shared.events import DeliveryReport, Event, InboundMessage, Status
from shared.payload import Fields
from shared.payload.octets import encoding_of, guess_octets
from shared.providers import Console, Reply
from shared.providers._kit import Statuses, bearer_steps, json_request, number_if_whole, time_text, without_none
from shared.source import Option, Source

METHODS = ("POST", "PATCH")
HEADERS: frozenset[str] = frozenset()
PROOF_HEADERS = frozenset({"authorization"})
BODY_LIMIT_BYTES = 64 * 1024
FIELDS = frozenset(
    "id endpoint organisation source_address source_address_type dest_address destination_address payload dcs pid udh "
    "multi_part_info submit_date final_date expiry_date retry_date last_delivery_attempt delivery_attempt sms_type "
    "status detail iccid imsi msisdn smsforwarderId".split()
)
SIGNS = True
TIMEZONE = "UTC"
OPTIONS: Mapping[str, Option] = {}
EXAMPLE = """
secrets = ["${EMNIFY_API_SECRET}"]  # the newest first: list two while you change it
"""
CONSOLE = Console(
    "Device Policies → service policy → SMS Interface: Webhook → Configure Webhook",
    made={"EMNIFY_API_SECRET": "paste it as the webhook's secret key"},
)

STATUSES = Statuses(
    {
        "1": Status.QUEUED,
        "2": Status.SENT,
        "3": Status.QUEUED,
        "4": Status.DELIVERED,
        "5": Status.FAILED,
        "6": Status.EXPIRED,
        "7": Status.DELETED,
    }
)
WORDS = {
    "1": "DELIVERY ATTEMPT PENDING",
    "2": "IN PROGRESS",
    "3": "BUFFERED",
    "4": "DELIVERED",
    "5": "FAILED",
    "6": "EXPIRED",
    "7": "CANCELED",
}
_IDS = {word: id_ for id_, word in WORDS.items()} | {"CANCELLED": "7"}
_NEAREST = {  # for what emnify has no status of its own
    Status.ACCEPTED: "2",
    Status.UNDELIVERED: "5",
    Status.REJECTED: "5",
}


def verify(arrival: Arrival, source: Source) -> str:
    """Every callback needs a token, since emnify signs both kinds."""
    token = signing.bearer(arrival.headers.get("authorization"))
    return signing.verify_jwt(source.secrets, token, arrival.received_at)


PROOF = bearer_steps()


def parse(callback: Callback, source: Source) -> Iterator[Event]:
    fields = Fields.from_json(source, callback.body)
    is_receipt = "status" in fields and ("payload" not in fields or callback.method == "PATCH")
    if is_receipt:
        yield _receipt(fields)
    elif callback.method == "PATCH":
        raise Malformed("no status")
    elif {"payload", "source_address", "dest_address", "destination_address"} & fields.names():
        yield _message(fields)
    else:
        raise Malformed("neither message nor receipt")


REPLY = Reply()


def _message(fields: Fields) -> InboundMessage:
    organisation, message_id = fields.group("organisation").distinction("id"), fields.identity("id")
    parts = fields.group("multi_part_info")
    reference = parts.distinction("identifier")
    number = parts.integer("partno", payload.SMALLINT_MAX)
    count = parts.integer("total", payload.SMALLINT_MAX)
    key: tuple[str | None, ...] = ("mo", organisation, message_id)
    if count is not None and count > 1:
        key += (reference, parts.distinction("partno") if number is None else str(number))
    text, encoding = fields.text("payload") or "", encoding_of(fields.integer("dcs"))
    guess, content = guess_octets(text) if encoding == "binary" else (None, None)
    if guess:
        fields.note(f"bytes guessed from {guess}")
    return InboundMessage(
        key=key,
        message_id=message_id,
        sender=fields.phone("source_address"),
        recipient=fields.phone("dest_address", "destination_address"),
        text=text,
        encoding=encoding,
        part_reference=reference,
        part_number=number,
        part_count=count,
        sent_at=fields.time("submit_date"),
        extra=fields.rest(FIELDS, "dcs", bytes_hex=content),
    )


def _receipt(fields: Fields) -> DeliveryReport:
    organisation, message_id = fields.group("organisation").distinction("id"), fields.identity("id")
    endpoint = fields.group("endpoint")
    status, decided = _status(fields)
    return DeliveryReport(
        key=("dr", organisation, message_id, decided),
        message_id=message_id,
        sender=fields.phone("source_address"),
        recipient=endpoint.word("id") or endpoint.word("name"),
        status=status,
        provider_status=decided,
        occurred_at=fields.time("final_date"),
        extra=fields.rest(FIELDS),
    )


def _status(fields: Fields) -> tuple[Status, str]:
    """The status and what decided it: the table's id, else the word in upper case. Raises Malformed without either.

    The callback has `status.status`, the read API `status.description`; some drop the object around it.
    """
    status = fields.group("status") if fields.group("status").names() else fields.only("status", renamed="id")
    id_, word = status.distinction("id"), status.distinction("status", "description")
    if id_ is not None:
        id_, word = (str(int(id_)), word) if id_.isdecimal() else (None, word or id_)
    if id_ is None and word is None:
        raise Malformed("no status")
    word = re.sub(r"[\s_]+", " ", word).upper() if word else None
    by_word = _IDS.get(word or "")
    if id_ is not None and id_ in STATUSES:
        if by_word not in (None, id_):
            fields.note(payload.STATUS_CONTRADICTED)
        return STATUSES[id_].status, id_
    decided = by_word or word or id_ or ""
    return STATUSES.read(decided, fields).status, decided


def render(event: Event) -> Request:
    """Statuses that emnify does not know are sent as the nearest that it does."""
    kept = event.extra
    document: dict[str, Any] = {
        "id": number_if_whole(event.message_id),
        "organisation": kept.get("organisation", {"id": 4, "name": "Your Organisation Name"}),
    }
    if isinstance(event, InboundMessage):
        document |= {
            "endpoint": kept.get("endpoint", {"id": 1, "name": "Your Endpoint"}),
            "source_address": _address(event.sender),
            "dest_address": _address(event.recipient),
            "payload": event.text,
            "dcs": kept.get("dcs", {"binary": 4, "ucs2": 8}.get(event.encoding or "", 0)),
            "pid": kept.get("pid", 0),
            "submit_date": _time(event.sent_at),
        }
        if event.part_count is not None:
            document["multi_part_info"] = {
                "partno": event.part_number,
                "total": event.part_count,
                "identifier": number_if_whole(event.part_reference or event.message_id),
            }
        return json_request(without_none(document))
    document |= {
        "submit_date": kept.get("submit_date", _time(event.occurred_at)),
        "final_date": _time(event.occurred_at),
        "endpoint": kept.get("endpoint", event.recipient and {"id": number_if_whole(event.recipient)}),
        "status": _status_object(event),
    }
    if event.sender is not None:
        document["source_address"] = _address(event.sender)
    return json_request(without_none(document), "PATCH")


def sign(request: Request, source: Source) -> Request:
    token = signing.make_jwt(source.secrets[0], {"iss": "emnify"})
    return request.with_headers({"authorization": f"Bearer {token}"})


def _status_object(event: DeliveryReport) -> dict[str, Any]:
    id_ = event.provider_status or ""
    if id_ not in STATUSES or STATUSES[id_].status is not event.status:
        id_ = STATUSES.word(event) or _NEAREST.get(event.status, "")
    if not id_:
        return {"status": event.provider_status or "UNKNOWN"}
    return {"id": int(id_), "status": WORDS[id_]}


def _address(address: str | None) -> int | str | None:
    return None if address is None else number_if_whole(payload.without_plus(address))


def _time(time: datetime | None) -> str | None:
    return time_text(time, "%Y-%m-%dT%H:%M:%S.%fZ" if time and time.microsecond else "%Y-%m-%d %H:%M:%S")
