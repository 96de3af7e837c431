"""Twilio Programmable Messaging: SMS, MMS, WhatsApp, RCS and Messenger.

Sends inbound messages and a status callback for every change of a message's state, to one URL or to two; each a form by
POST, or by GET where a number is configured so. A JSON body has a `bodySHA256` in the URL. Status callbacks may also
report an inbound message (`receiving`, `received`), which has its own callback: they are no events.
Signs all: `X-Twilio-Signature` is the HMAC-SHA1, in Base64, of the URL as Twilio requested it and, behind it, the names
and values of the form, sorted, each pair once, with nothing between them. The key is the primary auth token of the
account, or of the subaccount. Proxies change the URL, so the source has its beginning. User and password are not
signed; the port is, or is not (Twilio's validators try both). Twilio may sort the URL's own parameters after it has
signed them: write them sorted. It may also spell them otherwise than it has signed them (`'` and `%27`), as users
report of GET. With `bodySHA256` in the URL the body is compared with it, and so is an empty one, as twilio-python
compares a text (twilio-node would take `{}` for none, and so two requests for one).
Retries once, and only if it cannot connect; a URL that ends in `#rc=5&rp=all` (not sent, not signed) makes it retry
after any error, all within 15 seconds. Then an inbound message goes to the fallback URL, if there is one, and a status
is lost. `I-Twilio-Idempotency-Token` names one series of attempts; unsigned, it must not decide, and is not kept.
Unique: an inbound message by MessageSid, a receipt by MessageSid, status and error code. Receipts come in any order.
There are no times. `RawDlrDoneDate` is the carrier's, in a zone that differs between carriers and within one.
From: Twilio docs, "Twilio's request to your incoming message Webhook URL", "Track the Message Status of Outbound
Messages", "Security", "Webhook connection overrides", "Messages resource", the error dictionary; the changelog of
2023-02-14 (RawDlrDoneDate); request_validator.py of twilio-python, webhooks.ts of twilio-node; issues 1059 of
twilio-node and 528 of twilio-ruby.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Set
from functools import cache
from itertools import chain
from typing import Any

from shared import signing
from shared.callback import Arrival, Callback, Request, hide_token
from shared.errors import Malformed
from shared.events import SMS, Attachment, DeliveryReport, Event, InboundMessage, Intent, Reason, Status
from shared.payload import Fields
from shared.payload.form import FORM_FIELDS, Form
from shared.providers import Console, Reply
from shared.providers._kit import (
    Meaning,
    Respelled,
    Statuses,
    Step,
    form_request,
    secret_step,
    signature_steps,
    without_none,
)
from shared.source import Option, Source

METHODS = ("POST", "GET")
HEADERS: frozenset[str] = frozenset()
PROOF_HEADERS = frozenset({"x-twilio-signature"})
BODY_LIMIT_BYTES = 64 * 1024
MEDIA = 10  # of one message, at most
FIELDS = frozenset(
    "MessageSid SmsSid SmsMessageSid AccountSid MessagingServiceSid From To Body NumMedia NumSegments "
    "ButtonPayload ButtonText ButtonType InteractiveData FlowData ChannelMetadata Latitude Longitude Address Label "
    "FromCity FromState FromZip FromCountry ToCity ToState ToZip ToCountry OptOutType AddOns "
    "ProfileName WaId Forwarded FrequentlyForwarded OriginalRepliedMessageSender OriginalRepliedMessageSid "
    "ReferralBody ReferralHeadline ReferralSourceId ReferralSourceType ReferralSourceUrl ReferralMediaId "
    "ReferralMediaContentType ReferralMediaUrl ReferralNumMedia ReferralCtwaClid "
    "MessageStatus SmsStatus ErrorCode RawDlrDoneDate ChannelInstallSid ChannelStatusMessage ChannelPrefix EventType "
    # in no table of the documentation, but in what it sends
    "ApiVersion ErrorMessage MessageType ExternalUserId ChannelToAddress StructuredMessage".split()
) | {f"Media{part}{number}" for part in ("Url", "ContentType") for number in range(MEDIA)}
SIGNS = True
TIMEZONE = "UTC"
_PUBLIC_URL = re.compile(r"https?://[^/?#\s]+(?:/(?!callbacks(?:/|$))[^/?#\s]+)*/?")
OPTIONS: Mapping[str, Option] = {
    "public_url": Option(
        str,
        None,
        "how the URL begins that Twilio calls, up to the path: https://callbacks.example.com",
        required=True,
        unit="URL",
        problem=lambda text: (
            None
            if _PUBLIC_URL.fullmatch(text)
            else "must be how the URL begins, up to /callbacks: https://callbacks.example.com"
        ),
    ),
}
EXAMPLE = """
secrets = ["${TWILIO_AUTH_TOKEN}"]
public_url = "https://callbacks.example.com"  # how the URLs begin that Twilio calls
"""
CONSOLE = Console(
    "the webhook of the number or of the messaging service, and `StatusCallback` of each request",
    given={"TWILIO_AUTH_TOKEN": "the primary Auth Token of the account"},
    fragment="#rc=5&rp=all",  # without it Twilio does not try again after an error
)

STATUSES = Statuses(
    {
        "queued": Status.QUEUED,
        "scheduled": Status.QUEUED,
        "accepted": Status.QUEUED,  # comes before queued, while a sender is chosen
        "sending": Status.ACCEPTED,  # out of the queue, not yet with a carrier
        "sent": Status.SENT,
        "partially_delivered": Status.SENT,  # not described; the rest may still arrive
        "delivered": Status.DELIVERED,
        "read": Meaning(Status.DELIVERED, read=True),
        "undelivered": Status.UNDELIVERED,
        "failed": Status.FAILED,
        "canceled": Status.DELETED,
    }
)
_OF_INBOUND = frozenset({"receiving", "received"})
_LEFT_OPEN = frozenset({Status.UNDELIVERED, Status.FAILED})  # to be refined by the error code
ERRORS: Mapping[str, Status | Reason] = {
    "21610": Reason.OPTED_OUT,
    "30001": Reason.QUEUE_OVERFLOW,
    "30002": Reason.ACCOUNT_SUSPENDED,
    "30003": Reason.UNREACHABLE,
    "30004": Reason.BLOCKED,
    "30005": Reason.UNKNOWN_DESTINATION,
    "30006": Reason.LANDLINE,
    "30007": Reason.FILTERED,
    "30008": Reason.UNKNOWN,
    "30010": Reason.PRICE_LIMIT,
    "30011": Reason.MMS_NOT_SUPPORTED,
    "30019": Reason.CONTENT_TOO_LARGE,
    "30022": Reason.RATE_LIMIT,
    "30024": Reason.SENDER_NOT_ALLOWED,
    "30027": Reason.DAILY_LIMIT,
    "30032": Reason.SENDER_NOT_REGISTERED,  # toll-free number
    "30034": Reason.SENDER_NOT_REGISTERED,  # US A2P 10DLC
    "30036": Status.EXPIRED,
    "30038": Reason.FILTERED,  # one-time password
    "30040": Reason.SENDER_NOT_REGISTERED,
    "30041": Reason.SENDER_NOT_REGISTERED,  # United Kingdom
    "30410": Reason.TEMPORARY,
    "30450": Reason.BLOCKED,
    "30454": Reason.ACCOUNT_LIMIT,
    "63003": Reason.UNKNOWN_DESTINATION,
    "63014": Reason.BLOCKED,  # by the recipient
    "63016": Reason.OUTSIDE_MESSAGING_WINDOW,
    "63018": Reason.RATE_LIMIT,
    "63038": Reason.ACCOUNT_LIMIT,
}
_OPT_OUTS = {"STOP": Intent.OPT_OUT, "START": Intent.OPT_IN, "HELP": Intent.HELP}
respelled = Respelled()
_PHONES = frozenset({"sms", "whatsapp", "rcs"})  # elsewhere many digits are an id
_BODY_DIGEST = re.compile(
    f"{''.join(f'(?:{char}|%{ord(char):x}|%{ord(char):X})' for char in 'bodySHA256')}=(.*)", re.DOTALL
)
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9_-]{0,31}):(.*)", re.DOTALL)


def verify(arrival: Arrival, source: Source) -> str:
    """Everything needs a signature, since Twilio signs every kind."""
    signature = signing.read_signature(arrival.headers.get("x-twilio-signature"), "sha1", "base64")
    try:
        digest = _body_digest(arrival.query)
        form = Form(arrival.body if digest is None else b"")
        messages = chain(_signed(arrival.target, form, source), _respelled(arrival, source))
        proof = signing.verify_hmac(source.secrets, signature, messages)
    except (Malformed, UnicodeEncodeError):
        raise signing.rejected("unreadable") from None
    if not form.is_exact():
        raise signing.rejected("unreadable")
    if digest is None and arrival.body and not form.is_signable():
        raise signing.rejected("unreadable")  # what is signed has nothing between name and value, so the form must
    if digest is not None and not _is_digest(digest, arrival.body):
        raise signing.rejected("body_changed")
    return proof


def _is_digest(digest: str, body: bytes) -> bool:
    return signing.same_token(hashlib.sha256(body).hexdigest(), digest.lower())


def _signed(target: str, form: Form, source: Source) -> list[bytes]:
    """What a signature may cover: the URL, without its port and with it, and the parameters of a form."""
    rest = target.encode("ascii") + form.sorted_text()
    return [start + rest for start in _starts(source.options["public_url"])]


def _respelled(arrival: Arrival, source: Source) -> Iterator[bytes]:
    """What a signature may cover if it was made of another spelling of the URL; users report that of GET only."""
    if not arrival.body:
        path, _, query = arrival.target.encode("ascii").partition(b"?")
        start = _starts(source.options["public_url"])[0] + path + b"?"
        yield from (start + spelling for spelling in respelled.spellings(query))


@cache
def _starts(public_url: str) -> tuple[bytes, bytes]:
    scheme, _, place = public_url.rstrip("/").partition("://")
    authority, slash, prefix = place.partition("/")
    host, _, port = authority.rpartition("@")[2].partition(":")
    port = port or ("80" if scheme == "http" else "443")
    return f"{scheme}://{host}{slash}{prefix}".encode(), f"{scheme}://{host}:{port}{slash}{prefix}".encode()


def _body_digest(query: str) -> str | None:
    """The URL's `bodySHA256`, which the signature covers in place of the body. There is one with every JSON body.

    Raises Malformed for a query of more than FORM_FIELDS parameters.
    """
    parameters = query.split("&", FORM_FIELDS)
    if len(parameters) > FORM_FIELDS:
        raise Malformed("too many form fields", f"more than {FORM_FIELDS} in the URL")
    return next((found[1] for found in map(_BODY_DIGEST.match, parameters) if found), None)


def _url(arrival: Arrival, source: Source) -> str:
    """The URL as Twilio must have requested it, without its token; what is in its query may be a phone number."""
    start = _starts(source.options["public_url"])[0].decode()
    path, mark, query = hide_token(arrival.target, source.token).partition("?")
    count = f"? and {query.count('&') + 1} parameters" if mark else ""
    return f"{start}{path}{count} is what must be signed, with or without its port (public_url, then the path)"


def _digest_found(arrival: Arrival, source: Source) -> str:
    try:
        digest = _body_digest(arrival.query)
    except Malformed:
        return ""
    if digest is None:
        return ""
    same = "is" if _is_digest(digest, arrival.body) else "is not"
    return f"the SHA-256 of the body ({len(arrival.body)} bytes) {same} the bodySHA256 of the URL"


PROOF = (
    *signature_steps("x-twilio-signature", "sha1", "base64"),
    Step("readable", ("unreadable",), lambda *_: f"a form of up to {FORM_FIELDS} fields, read in one way, expected"),
    Step("url", (), _url),
    secret_step("an HMAC-SHA1 of that URL and of the fields of the form"),
    Step("body", ("body_changed",), _digest_found),
)


def parse(callback: Callback, source: Source) -> Iterator[Event]:
    """Reads what the signature covers and as it covers it: a form in its sorted order, not in that of the body."""
    own = Form(callback.query.encode("utf-8", "surrogatepass")).parameters()
    content_type = callback.headers.get("content-type", "")
    if callback.body and _body_digest(callback.query) is not None:
        fields = Fields.from_json(source, callback.body)
    else:
        parameters = sorted(set(Form(callback.body).parameters()))
        fields = Fields.from_parameters(source, parameters + own, content_type)
    documented = FIELDS | Fields.from_parameters(source, own, content_type).names()
    if not callback.body and not fields.names():
        return
    message_id = fields.identity("MessageSid", "SmsSid")
    word = (fields.distinction("MessageStatus") or fields.distinction("SmsStatus") or "").lower()
    if word and word not in _OF_INBOUND:
        yield _receipt(fields, message_id, word, documented)
    elif "Body" in fields or "NumMedia" in fields:
        yield _message(fields, message_id, documented)
    elif not word:
        raise Malformed("neither message nor receipt")


REPLY = Reply(b"<Response/>", "text/xml")  # TwiML that does nothing


def _message(fields: Fields, message_id: str, documented: Set[str]) -> InboundMessage:
    channel = _channel(fields)
    return InboundMessage(
        key=("mo", message_id),
        message_id=message_id,
        channel=channel,
        sender=_address(fields, channel, "From"),
        recipient=_address(fields, channel, "To"),
        text=fields.text("Body") or "",
        attachments=tuple(_attachments(fields)),
        intent=_OPT_OUTS.get((fields.word("OptOutType") or "").upper(), Intent.NONE),
        extra=fields.rest(documented, "OptOutType"),
    )


def _attachments(fields: Fields) -> Iterator[Attachment]:
    for number in range(MEDIA):
        if url := fields.text(f"MediaUrl{number}"):
            yield Attachment(url, fields.word(f"MediaContentType{number}"))


def _receipt(fields: Fields, message_id: str, word: str, documented: Set[str]) -> DeliveryReport:
    word = "read" if (fields.word("EventType") or "").lower() == "read" else word
    channel, error_code, meaning = _channel(fields), fields.word("ErrorCode"), STATUSES.read(word, fields)
    if meaning.status in _LEFT_OPEN and error_code is not None:
        meaning = meaning.refined(ERRORS.get(error_code))
    return DeliveryReport(
        key=("dr", message_id, word, error_code),
        message_id=message_id,
        channel=channel,
        sender=_address(fields, channel, "From"),
        recipient=_address(fields, channel, "To"),
        status=meaning.status,
        read=meaning.read,
        provider_status=word,
        error_code=error_code,
        reason=meaning.reason,
        extra=fields.rest(documented, "EventType"),
    )


def _channel(fields: Fields) -> str:
    """The prefix of the addresses (`whatsapp:+14017122661`), which is taken off them; a plain number is SMS or MMS."""
    channel = None
    for name in ("From", "To"):
        address = fields.values.get(name)
        if isinstance(address, str) and (found := _ADDRESS.fullmatch(address)):
            fields.values[name] = found[2]
            channel = channel or found[1]
    return (channel or fields.word("ChannelPrefix") or SMS).lower()


def _address(fields: Fields, channel: str, name: str) -> str | None:
    return fields.phone(name) if channel in _PHONES else fields.word(name)


def render(event: Event) -> Request:
    kept = {name: value for name, value in event.extra.items() if name in FIELDS}
    form: dict[str, Any] = {"ApiVersion": "2010-04-01", "AccountSid": f"AC{0:032}"}
    if isinstance(event, InboundMessage):
        form |= {"NumMedia": len(event.attachments), "NumSegments": "1"} | kept
        for number, attachment in enumerate(event.attachments):
            form |= {f"MediaUrl{number}": attachment.url, f"MediaContentType{number}": attachment.content_type}
        form |= {"SmsMessageSid": event.message_id, "SmsStatus": "received", "Body": event.text}
    else:
        form |= kept | {"MessageStatus": _word(event), "SmsStatus": _word(event), "ErrorCode": _error_code(event)}
        form |= {"ChannelPrefix": None if event.channel == SMS else event.channel}
    form |= {"MessageSid": event.message_id, "SmsSid": event.message_id}
    form |= {"From": _prefixed(event, event.sender), "To": _prefixed(event, event.recipient)}
    return form_request(without_none(form))


def sign(request: Request, source: Source) -> Request:
    form = Form(request.body if _body_digest(request.query) is None else b"")
    signature = signing.hmac_base64(source.secrets[0], _signed(request.target, form, source)[0], "sha1")
    return request.with_headers({"x-twilio-signature": signature})


def _word(event: DeliveryReport) -> str:
    """The event's own word, else the one for its state; what Twilio has no word for has failed."""
    other = "unknown" if event.status is Status.UNKNOWN else "failed"
    return event.provider_status or STATUSES.word(event) or other


def _error_code(event: DeliveryReport) -> str | None:
    codes = (code for code, meaning in ERRORS.items() if meaning is event.status or meaning is event.reason)
    return event.error_code or next(codes, None)


def _prefixed(event: Event, address: str | None) -> str | None:
    return address if event.channel == SMS else f"{event.channel}:{address or ''}"
