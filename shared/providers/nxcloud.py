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

import re
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from shared import payload, signing
from shared.callback import Arrival, Callback, Request
from shared.errors import Malformed
from shared.events import DeliveryReport, Event, InboundMessage, Reason, Status
from shared.payload import Fields
from shared.providers import Console, Reply
from shared.providers._kit import (
    Meaning,
    Statuses,
    Step,
    apart,
    form_request,
    json_request,
    secret_step,
    signature_steps,
    time_text,
    unsigned_step,
    where,
    without_none,
)
from shared.source import Option, Source

METHODS = ("POST", "GET")
HEADERS = frozenset({"action"})
PROOF_HEADERS = frozenset({"sign", "accesskey", "action", "biztype", "ts", "content-type"})
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
EXAMPLE = """
token = "${NXCLOUD_TOKEN}"  # the SMS product signs nothing: a path that is hard to guess is its proof
timezone = "Asia/Shanghai"  # of its times, which name no zone
"""
CONSOLE = Console(
    "the status report address of the SMS application, or the callback of a DID number",
    made={"NXCLOUD_TOKEN": "it is the end of the URL"},
)

CODES = Statuses(  # any other number: failed
    {
        "2": Status.DELIVERED,
        "5": Status.UNDELIVERED,
        "6": Status.REJECTED,  # not SMPP's code, where 6 is accepted
        "7": Status.EXPIRED,  # SMPP: unknown
        "8": Status.DELETED,  # SMPP: rejected
        "9": Meaning(Status.REJECTED, Reason.DO_NOT_DISTURB),
        "10": Meaning(Status.REJECTED, Reason.INVALID_DESTINATION),
        "11": Meaning(Status.REJECTED, Reason.INVALID_SENDER),
        "12": Status.UNKNOWN,
    }
)
_OTHER_CODE = "99"
WORDS = Statuses(
    {
        "DELIVRD": Status.DELIVERED,
        "UNDELIV": Status.UNDELIVERED,
        "UNDELIVR": Status.UNDELIVERED,  # sic, with eight letters, of DID numbers
        "REJECTD": Status.REJECTED,
        "EXPIRED": Status.EXPIRED,
        "DELETED": Status.DELETED,
        "DND": Meaning(Status.REJECTED, Reason.DO_NOT_DISTURB),
        "ESME_RINVDSTADR": Meaning(Status.REJECTED, Reason.INVALID_DESTINATION),
        "ESME_RINVSRCADR": Meaning(Status.REJECTED, Reason.INVALID_SENDER),
        "UNKNOWN": Status.UNKNOWN,
        "ACCEPTD": Status.ACCEPTED,
        "ENROUTE": Status.SENT,
        "SCHEDULED": Status.QUEUED,
        "FAILED": Status.FAILED,
    }
)
_SIGNED_HEADERS = ("accessKey", "action", "bizType", "ts")
_HEADER_VALUE = re.compile(r"[!-%'-~]{1,255}")  # an `&` could move the border between two values, or the body's
_MILLISECONDS = re.compile(r"[0-9]{1,16}")
_CURRENCY_EATEN = re.compile("[¤\ufffd]cy=")
_BULK_ID = re.compile(r"(.+)-[0-9]{10}")


def verify(arrival: Arrival, source: Source) -> str:
    """What comes from a DID number must be signed; for the SMS product a token or `unsigned` must do."""
    if _is_signed(arrival):
        return _verify_signature(arrival, source)
    proof = signing.proof_without_signature(source)
    if _is_unsigned_receipt(arrival, source):
        return proof
    raise signing.rejected("signature_missing")


def _is_signed(arrival: Arrival) -> bool:
    return "sign" in arrival.headers or any(name.lower() in arrival.headers for name in _SIGNED_HEADERS)


def _verify_signature(arrival: Arrival, source: Source) -> str:
    values = [arrival.headers.get(name.lower(), "") for name in _SIGNED_HEADERS]
    if not all(map(_HEADER_VALUE.fullmatch, values)) or not _MILLISECONDS.fullmatch(values[-1]):
        raise signing.rejected("signature_malformed" if "sign" in arrival.headers else "signature_missing")
    signature = signing.read_signature(arrival.headers.get("sign"), "md5")
    secret = signing.verify_md5(source.secrets, signature, _signed(values, arrival.body))
    if abs(arrival.received_at.timestamp() - int(values[-1]) / 1000) > _tolerance_seconds(source):
        raise signing.rejected("timestamp_outside_window")
    return secret


def _tolerance_seconds(source: Source) -> int:
    default: int = OPTIONS["timestamp_tolerance_seconds"].default
    return int(source.options.get("timestamp_tolerance_seconds", default))


def _signed(values: list[str], body: bytes) -> bytes:
    """What the signature covers, up to the secret."""
    names = "&".join(f"{name}={value}" for name, value in zip(_SIGNED_HEADERS, values, strict=True))
    return names.encode("ascii") + (b"&body=" + body if body else b"") + b"&accessSecret="


def _is_unsigned_receipt(arrival: Arrival, source: Source) -> bool:
    """Whether `parse` will read no DID number's arrival in it. Raises Rejected where that is not beyond doubt."""
    if len(arrival.body) + len(arrival.query) > UNSIGNED_LIMIT_BYTES:
        raise signing.rejected("unreadable")
    if sum(map(arrival.body.count, b"&,{[")) + arrival.query.count("&") > UNSIGNED_MARKS:
        raise signing.rejected("unreadable")
    try:
        return not _is_did(arrival, _read(arrival, source, exactly=True))
    except Malformed:
        raise signing.rejected("unreadable") from None


def _presence(arrival: Arrival, source: Source) -> str:
    missing = [name for name in ("sign", *_SIGNED_HEADERS) if name.lower() not in arrival.headers]
    if not _is_signed(arrival):
        return "what comes from a DID number must be signed" if missing else ""
    return f"{', '.join(missing)} of the signed headers missing" if missing else "all signed headers are there"


def _clock(arrival: Arrival, source: Source) -> str:
    ts = arrival.headers.get("ts", "")
    if not _MILLISECONDS.fullmatch(ts):
        return "ts is no number of milliseconds"
    return f"ts is {apart(int(ts) / 1000, arrival)}; {_tolerance_seconds(source)} s are allowed"


PROOF = (
    unsigned_step(lambda arrival: not _is_signed(arrival), "without a signature, as the SMS product sends receipts"),
    Step(
        "readable",
        ("unreadable",),
        lambda arrival, _: (
            ""
            if _is_signed(arrival)
            else f"up to {UNSIGNED_LIMIT_BYTES} bytes, which can be read in one way only, expected;"
            f" {len(arrival.body) + len(arrival.query)} found"
        ),
    ),
    Step("headers", ("signature_missing",), _presence),
    *where(
        _is_signed,
        (
            signature_steps("sign", "md5", "hex")[1],
            secret_step("an MD5 of the signed headers, the body and the secret"),
            Step("clock", ("timestamp_outside_window",), _clock),
        ),
    ),
)


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
    return Fields.from_form(source, callback.body, query, callback.headers.get("content-type", ""), exactly=exactly)


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
            whole, _, rest = parts[0].partition("=")
            fields.values |= {"currency": parts[1]} | ({whole: rest} if whole else {})
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
    meaning, decided = _status(fields)
    bulk = _BULK_ID.fullmatch(key[1])
    return DeliveryReport(
        key=(*key, decided),
        message_id=key[1],
        sender=fields.phone("fromPhone"),
        recipient=phone,
        status=meaning.status,
        reason=meaning.reason,
        provider_status=decided,
        occurred_at=fields.time("drtime" if "drtime" in fields else "receiveTime"),
        price=fields.decimal("price"),
        currency=fields.word("currency"),
        parts=fields.integer("size"),
        extra=fields.rest(FIELDS, "result", bulk_messageid=bulk and bulk[1]),
    )


def _status(fields: Fields) -> tuple[Meaning, str]:
    """The meaning and what decided it: the code, else the operator's text. Raises Malformed without either."""
    code, word = fields.distinction("status") or "", (fields.distinction("result", "smsStatus") or "").upper()
    if not code.isdecimal():
        word = word or code.upper() or fields.identity("status")
        return WORDS.read(word, fields), word
    code = str(int(code))
    meaning = CODES[code] if code in CODES else Meaning(Status.FAILED)
    by_word = WORDS[word].status if word in WORDS else meaning.status
    if by_word is not meaning.status and not (meaning.status is Status.FAILED and by_word.rank == meaning.status.rank):
        fields.note(payload.STATUS_CONTRADICTED)
    return meaning, code


def render(event: Event) -> Request:
    """Receipts with a sender as those of a DID number, the others as those of the SMS product."""
    if isinstance(event, InboundMessage):
        return _did_request("mo", event, {"content": event.text, "receiveTime": _time(event.sent_at)})
    billed = {"size": event.parts, "price": event.price, "currency": event.currency}
    if event.sender is not None:
        state = {"smsStatus": _word(event), "receiveTime": _time(event.occurred_at)}
        return _did_request("dr", event, state | billed)
    form = {
        "result": event.extra.get("result", _word(event)),
        "phone": event.recipient and payload.without_plus(event.recipient),
        "rate": event.extra.get("rate"),
        "messageid": event.message_id,
        "drtime": _time(event.occurred_at),
        "sendtime": event.extra.get("sendtime", _time(event.occurred_at)),
        "status": _code(event),
    }
    return form_request(without_none(form | billed))


def sign(request: Request, source: Source) -> Request:
    """Signs what comes from a DID number, with the request's `ts` if it has one, else with this moment's."""
    if "action" not in request.headers:
        return request
    headers = {"accesskey": "callbox", "biztype": "4", "ts": str(time.time_ns() // 1_000_000)} | request.headers
    message = _signed([headers[name.lower()] for name in _SIGNED_HEADERS], request.body)
    return request.with_headers(headers | {"sign": signing.md5_hex(source.secrets[0], message)})


def _did_request(action: str, event: Event, fields: dict[str, Any]) -> Request:
    document = {
        "messageId": event.message_id,
        "type": 0 if action == "mo" else 1,
        "fromPhone": event.sender and payload.without_plus(event.sender),
        "toPhone": event.recipient and payload.without_plus(event.recipient),
        **fields,
    }
    return json_request(without_none(document)).with_headers({"action": action})


def _code(event: DeliveryReport) -> str | None:
    """The code for the event; None where there are only words for it."""
    if event.provider_status is not None:
        return event.provider_status if event.provider_status.isdecimal() else None
    return _OTHER_CODE if event.status is Status.FAILED else CODES.word(event)


def _word(event: DeliveryReport) -> str | None:
    own = event.provider_status
    return own if own is not None and not own.isdecimal() else WORDS.word(event)


def _time(time: datetime | None) -> str | None:
    return time_text(time, "%Y-%m-%d %H:%M:%S", ZoneInfo(TIMEZONE))
