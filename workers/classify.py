"""What an event means beyond its provider's words: is its traffic A2P or P2P, how many SMS does an inbound text take,
and does it ask for something that the law or the carriers want answered. Labels only: nothing is refused here.
"""

import msgspec

from shared.events import SMS, Event, InboundMessage, Intent, Traffic
from shared.payload.notes import ENCODING_CONTRADICTED
from shared.source import Source
from workers.segments import encoding_of, may_be_gsm7, segments_of

# A whole text that is one of these words is a keyword, whatever its case and the punctuation around it.
# The opt-out words are those of the FCC (47 CFR 64.1200(a)(10): stop, quit, end, revoke, opt out, cancel, unsubscribe)
# and of CTIA's Messaging Principles and Best Practices; STOPALL, START, UNSTOP, YES, HELP and INFO are those of the
# carriers' rules for short codes and toll-free numbers.
_WORDS: dict[Intent, str] = {
    Intent.OPT_OUT: "stop,stopall,stop all,unsubscribe,cancel,end,quit,revoke,optout,opt out,opt-out",
    Intent.OPT_IN: "start,unstop,yes,optin,opt in,opt-in",
    Intent.HELP: "help,info",
}
_KEYWORDS = {word: intent for intent, words in _WORDS.items() for word in words.split(",")}
_LONGEST_KEYWORD = 64  # characters, with everything around it
_AROUND = " \t\r\n\v\f\u00a0.,;:!?'\"`()[]<>*_-\u2018\u2019\u201c\u201d\u2026"


def classify(event: Event, source: Source) -> Event:
    """The event with its traffic and, for an inbound message, its intent and segments."""
    if isinstance(event, InboundMessage):
        return _classify_message(event, source)
    return msgspec.structs.replace(event, traffic=traffic_of(event.sender, source.a2p_max_digits))


def _classify_message(message: InboundMessage, source: Source) -> InboundMessage:
    encoding = message.encoding or (encoding_of(message.text) if message.channel == SMS else None)
    extra = message.extra
    if encoding == "gsm7" and not may_be_gsm7(message.text):
        encoding, notes = "ucs2", extra.get("notes", [])
        extra = {**extra, "notes": [*notes, ENCODING_CONTRADICTED]}
    return msgspec.structs.replace(
        message,
        traffic=traffic_of(message.recipient, source.a2p_max_digits),
        intent=_intent(message),
        encoding=encoding,
        segments=segments_of(message.text, encoding) if encoding else None,
        extra=extra,
    )


def _intent(message: InboundMessage) -> Intent:
    """The provider's own verdict, if it has one, else that of the text."""
    if message.intent is not Intent.NONE:
        return message.intent
    if message.part_count is not None and message.part_count > 1:  # "stop" in a part is in the middle of something
        return Intent.NONE
    return intent_of(message.text)


def traffic_of(address: str | None, a2p_max_digits: int) -> Traffic | None:
    """A2P or P2P by the address on the application's side: where an MO goes to, where an MT comes from.

    A number of up to `a2p_max_digits` digits is a short code and an alphanumeric address an application (emnify,
    "A2P and P2P SMS"); longer numbers are people's and devices'. None without an address.
    """
    if address is None or not address.strip():
        return None
    digits = address.strip().removeprefix("+")
    is_number = digits.isascii() and digits.isdigit()
    return Traffic.P2P if is_number and len(digits) > a2p_max_digits else Traffic.A2P


def intent_of(text: str) -> Intent:
    """What the whole text asks for, if it is one of the keywords."""
    if len(text) > _LONGEST_KEYWORD:
        return Intent.NONE
    return _KEYWORDS.get(" ".join(text.strip(_AROUND).casefold().split()), Intent.NONE)
