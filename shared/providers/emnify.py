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

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from shared import payload, signing
from shared.callback import Callback, Request
from shared.errors import Malformed
from shared.events import DeliveryReport, Event, InboundMessage, Status
from shared.payload import Fields
from shared.providers import Reply
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

STATUSES = {
    "1": ("DELIVERY ATTEMPT PENDING", Status.QUEUED),
    "2": ("IN PROGRESS", Status.SENT),
    "3": ("BUFFERED", Status.QUEUED),
    "4": ("DELIVERED", Status.DELIVERED),
    "5": ("FAILED", Status.FAILED),
    "6": ("EXPIRED", Status.EXPIRED),
    "7": ("CANCELED", Status.DELETED),
}
_IDS = {word: id_ for id_, (word, _) in STATUSES.items()} | {"CANCELLED": "7"}
_NEAREST = {  # for what emnify has no status of its own
    Status.ACCEPTED: "2",
    Status.UNDELIVERED: "5",
    Status.REJECTED: "5",
}


def verify(callback: Callback, source: Source) -> str:
    """With secrets every callback needs a token, since emnify signs both kinds."""
    if not source.secrets:
        return signing.proof_without_signature(source)
    token = signing.bearer(callback.headers.get("authorization"))
    return signing.verify_jwt(source.secrets, token, callback.received_at)


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
    organisation, message_id = fields.group("organisation").word("id"), fields.identity("id")
    parts = fields.group("multi_part_info")
    reference = parts.word("identifier")
    number = parts.integer("partno", payload.SMALLINT_MAX)
    count = parts.integer("total", payload.SMALLINT_MAX)
    key: tuple[str | None, ...] = ("mo", organisation, message_id)
    if count is not None and count > 1:
        key += (reference, None if number is None else str(number))
    text, encoding = fields.text("payload") or "", _encoding(fields.integer("dcs"))
    guess, content = _guess_bytes(text) if encoding == "binary" else (None, None)
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
    organisation, message_id = fields.group("organisation").word("id"), fields.identity("id")
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

    The callback says `status.status`, the read API `status.description`; some drop the object around it.
    """
    status = fields.group("status") if fields.group("status").names() else fields.only("status", renamed="id")
    id_, word = status.word("id"), status.word("status", "description")
    if id_ is not None:
        id_, word = (str(int(id_)), word) if id_.isdecimal() else (None, word or id_)
    if id_ is None and word is None:
        raise Malformed("no status")
    word = re.sub(r"[\s_]+", " ", word).upper() if word else None
    by_word = _IDS.get(word or "")
    if id_ in STATUSES:
        if by_word not in (None, id_):
            fields.note(payload.STATUS_CONTRADICTED)
        return STATUSES[id_][1], id_
    if by_word is not None:
        return STATUSES[by_word][1], by_word
    fields.note(payload.STATUS_UNKNOWN)
    return Status.UNKNOWN, word or id_ or ""


def _encoding(dcs: int | None) -> str | None:
    """The alphabet of a data coding scheme (3GPP TS 23.038, 4); None for reserved and compressed ones."""
    if dcs is None or dcs > 0xFF:
        return None
    group = dcs >> 4
    if group < 0x8:  # general, with or without automatic deletion
        return None if dcs & 0x20 else ("gsm7", "binary", "ucs2", None)[dcs >> 2 & 3]
    if group < 0xC:
        return None
    if group < 0xF:  # message waiting indication
        return "ucs2" if group == 0xE else "gsm7"
    return "binary" if dcs & 0x04 else "gsm7"


def _guess_bytes(text: str) -> tuple[str | None, str | None]:
    """How an 8-bit payload seems to be written, which emnify does not document, and its bytes in hex."""
    if re.fullmatch(r"(?:[0-9a-fA-F]{2})+", text):
        return "hex", text.lower()
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None, None
    if content and base64.b64encode(content).decode() == text:
        return "base64", content.hex()
    return None, None


def render(event: Event) -> Request:
    """Statuses that emnify does not know are sent as the nearest that it does."""
    kept = event.extra
    document: dict[str, Any] = {
        "id": _number(event.message_id),
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
            "submit_date": _date(event.sent_at),
        }
        if event.part_count is not None:
            document["multi_part_info"] = {
                "partno": event.part_number,
                "total": event.part_count,
                "identifier": _number(event.part_reference or event.message_id),
            }
        return _request("POST", document)
    document |= {
        "submit_date": kept.get("submit_date", _date(event.occurred_at)),
        "final_date": _date(event.occurred_at),
        "endpoint": kept.get("endpoint", event.recipient and {"id": _number(event.recipient)}),
        "status": _status_object(event),
    }
    if event.sender is not None:
        document["source_address"] = _address(event.sender)
    return _request("PATCH", document)


def sign(request: Request, source: Source) -> Request:
    if not source.secrets:
        return request
    token = signing.make_jwt(source.secrets[0], {"iss": "emnify"})
    return replace(request, headers={**request.headers, "authorization": f"Bearer {token}"})


def _status_object(event: DeliveryReport) -> dict[str, Any]:
    id_ = event.provider_status or ""
    if id_ not in STATUSES or STATUSES[id_][1] is not event.status:
        ids = (id_ for id_, (_, status) in STATUSES.items() if status is event.status)
        id_ = next(ids, _NEAREST.get(event.status, ""))
    if not id_:
        return {"status": event.provider_status or "UNKNOWN"}
    return {"id": int(id_), "status": STATUSES[id_][0]}


def _request(method: str, document: dict[str, Any]) -> Request:
    body = json.dumps({name: value for name, value in document.items() if value is not None}, ensure_ascii=False)
    return Request(method=method, headers={"content-type": "application/json"}, body=body.encode())


def _number(text: str) -> int | str:
    return int(text) if re.fullmatch(r"0|[1-9][0-9]{0,18}", text) else text


def _address(address: str | None) -> int | str | None:
    return None if address is None else _number(payload.without_plus(address))


def _date(time: datetime | None) -> str | None:
    if time is None:
        return None
    utc = time.astimezone(UTC)
    return utc.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if utc.microsecond else utc.strftime("%Y-%m-%d %H:%M:%S")
