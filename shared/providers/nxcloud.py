"""NXCloud (牛信云, nxtele): receipts of the SMS product, and MO and receipts of DID numbers.

SMS product: a form by POST, for older accounts the same parameters in the URL; never signed.
DID numbers: MO and receipts on one URL, as a form without a signature or as signed JSON, chosen for each number. Signed
callbacks carry the headers `accessKey`, `action` (`mo` or `dr`), `bizType`, `ts` (ms) and `sign`, the MD5 over them,
the body and the access secret; whether `ts` may be old is not documented.
Expects the text `success`. Pushes a receipt once only: one that gets lost is lost for good.
Unique: a receipt of the SMS product by messageid, phone and status, for an operator's second push may differ in price
and times; an MO by messageId; a DID receipt by messageId and smsStatus.
Times are UTC+8 and name no zone. `price` is that of one part, so it is no total.
From: wikis of nxtele/http-api-document (短信回执回调, DID短信结果回调, API接口调用约定), nxcloud-doc-en (SMS Callback).
"""

import json
import re
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from shared import payload, signing
from shared.callback import Callback, Request
from shared.errors import Malformed
from shared.events import DeliveryReport, Event, InboundMessage, Reason, Status
from shared.payload import Fields
from shared.providers import Reply
from shared.source import Option, Source

METHODS = ("POST", "GET")
HEADERS = frozenset({"action"})
PROOF_HEADERS = frozenset({"sign", "accesskey", "action", "biztype", "ts"})
BODY_LIMIT_BYTES = 64 * 1024
UNSIGNED_LIMIT_BYTES = 4 * 1024  # of a receipt that comes without a signature to a source with secrets: it has 0.3
UNSIGNED_MARKS = 32  # in it that begin a field, an element or an object: it has a dozen
FIELDS = frozenset(
    "messageid phone status result drtime sendtime price currency rate size ext "  # of the SMS product
    "messageId type toPhone fromPhone content receiveTime smsStatus".split()  # of DID numbers
)
SIGNS = True
TIMEZONE = "Asia/Shanghai"
OPTIONS: Mapping[str, Option] = {
    "timestamp_tolerance_seconds": Option(
        int, 300, "how far the `ts` of a signed callback may be from our clock", unit="seconds"
    ),
}

CODES: dict[str, tuple[str, Status, Reason | None]] = {
    "2": ("DELIVRD", Status.DELIVERED, None),
    "5": ("UNDELIV", Status.UNDELIVERED, None),
    "6": ("REJECTD", Status.REJECTED, None),  # not SMPP's code, where 6 is accepted
    "7": ("EXPIRED", Status.EXPIRED, None),  # SMPP: unknown
    "8": ("DELETED", Status.DELETED, None),  # SMPP: rejected
    "9": ("DND", Status.REJECTED, Reason.DO_NOT_DISTURB),
    "10": ("ESME_RINVDSTADR", Status.REJECTED, Reason.INVALID_DESTINATION),
    "11": ("ESME_RINVSRCADR", Status.REJECTED, Reason.INVALID_SENDER),
    "12": ("UNKNOWN", Status.UNKNOWN, None),
}  # any other number: failed
WORDS: dict[str, tuple[Status, Reason | None]] = {word: (status, reason) for word, status, reason in CODES.values()} | {
    "UNDELIVR": (Status.UNDELIVERED, None),  # sic, with eight letters, of DID numbers
    "ACCEPTD": (Status.ACCEPTED, None),
    "ENROUTE": (Status.SENT, None),
    "SCHEDULED": (Status.QUEUED, None),
    "FAILED": (Status.FAILED, None),
}
_OTHER_CODE = "99"
_SIGNED_HEADERS = ("accessKey", "action", "bizType", "ts")
_HEADER_VALUE = re.compile(r"[!-%'-~]{1,255}")  # an `&` could move the border between two values, or the body's
_MILLISECONDS = re.compile(r"[0-9]{1,16}")
_CURRENCY_EATEN = re.compile("[¤\ufffd]cy=")
_BULK_ID = re.compile(r"(.+)-[0-9]{10}")


def verify(callback: Callback, source: Source) -> str:
    """With secrets what comes from a DID number must be signed; for the SMS product a token or `unsigned` must do."""
    if not source.secrets:
        return signing.proof_without_signature(source)
    if "sign" in callback.headers or any(name in callback.headers for name in PROOF_HEADERS):
        return _verify_signature(callback, source)
    proof = signing.proof_without_signature(source)
    if _is_unsigned_receipt(callback, source):
        return proof
    raise signing.rejected("signature_missing")


def _verify_signature(callback: Callback, source: Source) -> str:
    values = [callback.headers.get(name.lower(), "") for name in _SIGNED_HEADERS]
    if not all(map(_HEADER_VALUE.fullmatch, values)) or not _MILLISECONDS.fullmatch(values[-1]):
        raise signing.rejected("signature_malformed" if "sign" in callback.headers else "signature_missing")
    signature = signing.read_signature(callback.headers.get("sign"), "md5")
    secret = signing.verify_md5(source.secrets, signature, _signed(values, callback.body))
    tolerance = source.options.get("timestamp_tolerance_seconds", OPTIONS["timestamp_tolerance_seconds"].default)
    if abs(callback.received_at.timestamp() - int(values[-1]) / 1000) > tolerance:
        raise signing.rejected("timestamp_outside_window")
    return secret


def _signed(values: list[str], body: bytes) -> bytes:
    """What the signature covers, up to the secret."""
    names = "&".join(f"{name}={value}" for name, value in zip(_SIGNED_HEADERS, values, strict=True))
    return names.encode("ascii") + (b"&body=" + body if body else b"") + b"&accessSecret="


def _is_unsigned_receipt(callback: Callback, source: Source) -> bool:
    """Whether `parse` will read no DID number's callback in it. Raises Rejected where that is not beyond doubt."""
    if len(callback.body) + len(callback.query) > UNSIGNED_LIMIT_BYTES:
        raise signing.rejected("unreadable")
    if sum(map(callback.body.count, b"&,{[")) + callback.query.count("&") > UNSIGNED_MARKS:
        raise signing.rejected("unreadable")
    try:
        return not _is_did(callback, _read(callback, source, exactly=True))
    except Malformed:
        raise signing.rejected("unreadable") from None


def parse(callback: Callback, source: Source) -> Iterator[Event]:
    fields = _read(callback, source)
    if not _is_did(callback, fields):
        _repair(fields)
        message_id, phone = fields.identity("messageid"), fields.phone("phone")
        yield _receipt(fields, ("dr", message_id, phone), phone)
    elif _did_kind(callback, fields) == "mo":
        yield _message(fields)
    else:
        yield _receipt(fields, ("dr", fields.identity("messageId")), fields.phone("toPhone"))


REPLY = Reply(b"success", "text/plain", b"error")


def _read(callback: Callback, source: Source, *, exactly: bool = False) -> Fields:
    """Content types lie: a body that starts with a brace is JSON, else a form. Nothing signed is in the URL."""
    if callback.body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return Fields.from_json(source, callback.body, exactly=exactly)
    query = "" if "action" in callback.headers else callback.query
    return Fields.from_form(source, callback.body, query, exactly=exactly)


def _is_did(callback: Callback, fields: Fields) -> bool:
    return "messageId" in fields or "action" in callback.headers


def _did_kind(callback: Callback, fields: Fields) -> str:
    """The header, then the type, show the kind; `smsStatus` does not, since an MO has one too."""
    action = callback.headers.get("action", "").lower()
    if action in ("mo", "dr"):
        return action
    return "dr" if fields.word("type") == "1" else "mo"


def _repair(fields: Fields) -> None:
    """In copies of the documented example `&curren` has become the HTML entity, and the field before has it all."""
    if "currency" in fields:
        return
    for name, value in fields.values.items():
        if isinstance(value, str) and len(parts := _CURRENCY_EATEN.split(f"{name}={value}", maxsplit=1)) == 2:
            del fields.values[name]
            name, _, value = parts[0].partition("=")
            fields.values |= {"currency": parts[1]} | ({name: value} if name else {})
            fields.note("repaired currency")
            return


def _message(fields: Fields) -> InboundMessage:
    message_id = fields.identity("messageId")
    return InboundMessage(
        key=("mo", message_id),
        message_id=message_id,
        sender=fields.phone("fromPhone"),
        recipient=fields.phone("toPhone"),
        text=fields.text("content") or "",
        sent_at=fields.time("receiveTime"),
        extra=fields.rest(FIELDS),
    )


def _receipt(fields: Fields, key: tuple[Any, ...], phone: str | None) -> DeliveryReport:
    status, reason, decided = _status(fields)
    bulk = _BULK_ID.fullmatch(key[1])
    return DeliveryReport(
        key=(*key, decided),
        message_id=key[1],
        sender=fields.phone("fromPhone"),
        recipient=phone,
        status=status,
        reason=reason,
        provider_status=decided,
        occurred_at=fields.time("drtime" if "drtime" in fields else "receiveTime"),
        price=fields.decimal("price"),
        currency=fields.word("currency"),
        parts=fields.integer("size"),
        extra=fields.rest(FIELDS, "result", bulk_messageid=bulk and bulk[1]),
    )


def _status(fields: Fields) -> tuple[Status, Reason | None, str]:
    """Status, reason and what decided them: the code, else the operator's text. Raises Malformed without either."""
    code, word = fields.word("status") or "", (fields.word("result", "smsStatus") or "").upper()
    if not code.isdecimal():
        word = word or code.upper() or fields.identity("status")
        if word not in WORDS:
            fields.note(payload.STATUS_UNKNOWN)
        return *WORDS.get(word, (Status.UNKNOWN, None)), word
    code = str(int(code))
    _, status, reason = CODES.get(code, ("", Status.FAILED, None))
    by_word = WORDS.get(word, (status, None))[0]
    if by_word is not status and not (status is Status.FAILED and by_word.rank == status.rank):
        fields.note(payload.STATUS_CONTRADICTED)
    return status, reason, code


def render(event: Event) -> Request:
    """Receipts with a sender as those of a DID number, the others as those of the SMS product."""
    if isinstance(event, InboundMessage):
        return _did_request("mo", event, {"content": event.text, "receiveTime": _date(event.sent_at)})
    billed = {"size": event.parts, "price": event.price, "currency": event.currency}
    if event.sender is not None:
        state = {"smsStatus": _word(event), "receiveTime": _date(event.occurred_at)}
        return _did_request("dr", event, state | billed)
    form = {
        "result": event.extra.get("result", _word(event)),
        "phone": event.recipient and payload.without_plus(event.recipient),
        "rate": event.extra.get("rate"),
        "messageid": event.message_id,
        "drtime": _date(event.occurred_at),
        "sendtime": event.extra.get("sendtime", _date(event.occurred_at)),
        "status": _code(event),
    }
    sent = {name: value for name, value in (form | billed).items() if value is not None}
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return Request(method="POST", headers=headers, body=urlencode(sent).encode())


def sign(request: Request, source: Source) -> Request:
    """Signs what comes from a DID number, with the request's `ts` if it has one, else with this moment's."""
    if not source.secrets or "action" not in request.headers:
        return request
    headers = {"accesskey": "callbox", "biztype": "4", "ts": str(time.time_ns() // 1_000_000)} | request.headers
    message = _signed([headers[name.lower()] for name in _SIGNED_HEADERS], request.body)
    return replace(request, headers=headers | {"sign": signing.md5_hex(source.secrets[0], message)})


def _did_request(action: str, event: Event, fields: dict[str, Any]) -> Request:
    document = {
        "messageId": event.message_id,
        "type": 0 if action == "mo" else 1,
        "fromPhone": event.sender and payload.without_plus(event.sender),
        "toPhone": event.recipient and payload.without_plus(event.recipient),
        **fields,
    }
    sent = {name: value for name, value in document.items() if value is not None}
    headers = {"content-type": "application/json", "action": action}
    return Request(method="POST", headers=headers, body=json.dumps(sent, ensure_ascii=False, default=str).encode())


def _code(event: DeliveryReport) -> str | None:
    """The code for the event; None where there are only words for it."""
    if event.provider_status is not None:
        return event.provider_status if event.provider_status.isdecimal() else None
    if event.status is Status.FAILED:
        return _OTHER_CODE
    said = (event.status, event.reason)
    return next((code for code, (_, *meaning) in CODES.items() if tuple(meaning) == said), None)


def _word(event: DeliveryReport) -> str:
    """The event's own word, else the first for its status and reason, else for its status."""
    own = event.provider_status
    if own is not None and not own.isdecimal():
        return own
    words = [word for word, meaning in WORDS.items() if meaning == (event.status, event.reason)]
    return (words or [word for word, (status, _) in WORDS.items() if status is event.status])[0]


def _date(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(ZoneInfo(TIMEZONE)).strftime("%Y-%m-%d %H:%M:%S")
