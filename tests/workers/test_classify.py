import pytest

from shared.events import DeliveryReport, InboundMessage, Intent, Status
from shared.source import Source
from workers.classify import classify, intent_of, traffic_of

SOURCE = Source("s", "emnify")


@pytest.mark.parametrize(
    ("address", "traffic"),
    [
        ("1234", "a2p"),
        ("12345678", "a2p"),
        ("123456789", "p2p"),
        ("+4366012345678", "p2p"),
        ("+1234567", "a2p"),
        ("MyShop", "a2p"),
        ("4366012345678x", "a2p"),
        ("٠١٢٣٤٥٦٧٨٩", "a2p"),
        ("", None),
        ("  ", None),
        (None, None),
    ],
)
def test_an_address_of_up_to_eight_digits_is_a2p(address: str | None, traffic: str | None) -> None:
    assert traffic_of(address, 8) == traffic


def test_the_border_is_the_sources_own() -> None:
    assert (traffic_of("12345678", 7), traffic_of("1234567", 7), traffic_of("1", 0)) == ("p2p", "a2p", "p2p")


def test_an_mo_is_judged_by_where_it_goes_to() -> None:
    event = InboundMessage(key=("mo", "1"), message_id="1", sender="+4366012345678", recipient="1234")
    assert classify(event, SOURCE).traffic == "a2p"


def test_an_mt_is_judged_by_where_it_came_from() -> None:
    event = DeliveryReport(
        key=("dr", "1"), message_id="1", status=Status.SENT, recipient="1234", sender="+4366012345678"
    )
    assert classify(event, SOURCE).traffic == "p2p"


def test_a_receipt_without_a_sender_has_no_traffic() -> None:
    event = DeliveryReport(key=("dr", "1"), message_id="1", status=Status.SENT, recipient="1234")
    assert classify(event, SOURCE).traffic is None


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("STOP", "opt_out"),
        (" stop. ", "opt_out"),
        ("Stop!!!", "opt_out"),
        ("“STOP”", "opt_out"),
        ("StopAll", "opt_out"),
        ("STOP  ALL", "opt_out"),
        ("opt-out", "opt_out"),
        ("Opt Out", "opt_out"),
        ("REVOKE", "opt_out"),
        ("unsubscribe\n", "opt_out"),
        ("END", "opt_out"),
        ("start", "opt_in"),
        ("UNSTOP", "opt_in"),
        ("Yes", "opt_in"),
        ("HELP", "help"),
        ("info?", "help"),
        ("please stop by at five", "none"),
        ("stopp", "none"),
        ("", "none"),
        ("...", "none"),
        ("stop" + " " * 100, "none"),
    ],
)
def test_a_text_that_is_a_keyword_has_an_intent(text: str, intent: str) -> None:
    assert intent_of(text) == intent


def test_a_part_of_a_long_message_is_no_keyword() -> None:
    event = InboundMessage(key=("mo", "1"), message_id="1", text="STOP", part_number=2, part_count=2)
    classified = classify(event, SOURCE)
    assert isinstance(classified, InboundMessage)
    assert classified.intent == "none"


@pytest.mark.parametrize(
    ("named", "channel", "expected"),
    [
        (None, "sms", ("gsm7", 2)),
        ("ucs2", "sms", ("ucs2", 3)),
        ("binary", "sms", ("binary", None)),
        (None, "viber", (None, None)),
    ],
)
def test_an_inbound_text_is_counted_in_segments(named: str | None, channel: str, expected: tuple[str, int]) -> None:
    event = InboundMessage(key=("mo", "1"), message_id="1", text="a" * 161, encoding=named, channel=channel)
    classified = classify(event, SOURCE)
    assert isinstance(classified, InboundMessage)
    assert (classified.encoding, classified.segments) == expected


@pytest.mark.parametrize(
    ("text", "encoding", "notes"),
    [
        ("hello 👋", "ucs2", ["encoding contradicts text"]),
        ("你好", "ucs2", ["encoding contradicts text"]),
        ("hello", "gsm7", None),
        ("teşekkürler", "gsm7", None),  # in the Turkish table
        ("नमस्ते", "gsm7", None),  # in the Hindi table
    ],
)
def test_the_text_decides_where_gsm7_cannot_be(text: str, encoding: str, notes: list[str] | None) -> None:
    event = InboundMessage(key=("mo", "1"), message_id="1", text=text, encoding="gsm7")
    classified = classify(event, SOURCE)
    assert isinstance(classified, InboundMessage)
    assert (classified.encoding, classified.extra.get("notes")) == (encoding, notes)
    assert classified.segments == 1


def test_the_providers_verdict_comes_before_the_words() -> None:
    event = InboundMessage(key=("mo", "1"), message_id="1", text="help", intent=Intent.OPT_OUT)
    classified = classify(event, SOURCE)
    assert isinstance(classified, InboundMessage)
    assert classified.intent is Intent.OPT_OUT
