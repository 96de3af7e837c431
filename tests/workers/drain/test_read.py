from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from shared.callback import Callback, new_id, pack
from shared.errors import Malformed
from shared.events import InboundMessage
from shared.inbox import Entry
from shared.outcomes import Stage
from shared.source import Source
from workers.dead_letters import WHOLE, DeadLetter
from workers.drain import read

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOURCES = {"fleet": Source("fleet", "emnify", unsigned=True)}


def entry(body: bytes = b"", source: str = "fleet", provider: str = "emnify") -> Entry:
    callback = Callback(id=new_id(NOW), source=source, provider=provider, received_at=NOW, method="POST", body=body)
    return Entry("1767225600000-7", source, pack(callback))


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Any:
    """emnify, whose parser does what a test says."""
    stub = SimpleNamespace(found=[])

    def parse(callback: Callback, source: Source) -> Any:
        for found in stub.found:
            if isinstance(found, Exception) and not isinstance(found, Malformed):
                raise found
            yield found

    monkeypatch.setattr(read, "PROVIDERS", {"emnify": SimpleNamespace(parse=parse)})
    return stub


def test_events_come_classified(provider: Any) -> None:
    provider.found = [InboundMessage(key=("mo", "1"), message_id="1", recipient="1234", text="STOP")]
    parsed = read.read(entry(), SOURCES)
    (event,) = parsed.events
    assert isinstance(event, InboundMessage)
    assert (event.traffic, event.intent) == ("a2p", "opt_out")
    assert parsed.dead_letters == []


def test_an_item_that_is_not_understood_leaves_the_others(provider: Any) -> None:
    event = InboundMessage(key=("mo", "1"), message_id="1")
    provider.found = [Malformed("no id"), event, Malformed("no status", "in item 2")]
    parsed = read.read(entry(), SOURCES)
    assert len(parsed.events) == 1
    assert [(dead_letter.item, dead_letter.reason) for dead_letter in parsed.dead_letters] == [
        (0, "no id"),
        (2, "no status"),
    ]


def test_more_events_than_a_callback_can_mean_are_one_dead_letter(provider: Any) -> None:
    provider.found = [Malformed("no id")] * (read.ITEMS + 1)
    parsed = read.read(entry(), SOURCES)
    assert (parsed.events, [dead_letter.reason for dead_letter in parsed.dead_letters]) == ([], ["too many events"])
    provider.found = [Malformed("no id")] * read.ITEMS
    assert len(read.read(entry(), SOURCES).dead_letters) == read.ITEMS


def test_a_parser_that_fails_makes_a_dead_letter_without_the_payload(provider: Any) -> None:
    provider.found = [RuntimeError("+4366012345678")]
    parsed = read.read(entry(), SOURCES)
    assert [dead_letter.reason for dead_letter in parsed.dead_letters] == ["parser failed"]
    assert "4366" not in str(parsed.dead_letters)


def test_an_unreadable_payload_says_why() -> None:
    (dead_letter,) = read.read(entry(b"<xml/>"), SOURCES).dead_letters
    assert dead_letter == DeadLetter(WHOLE, Stage.PARSE, "not JSON", dead_letter.detail)


@pytest.mark.parametrize(("source", "provider"), [("gone", "emnify"), ("fleet", "messente")])
def test_a_source_that_is_no_longer_configured_makes_a_dead_letter(source: str, provider: str) -> None:
    parsed = read.read(entry(source=source, provider=provider), SOURCES)
    assert [dead_letter.stage for dead_letter in parsed.dead_letters] == ["source"]
    assert (parsed.callback.source, parsed.callback.provider) == (source, provider)


@pytest.mark.parametrize("packed", [b"", b"junk", b"\xc1", b"\x9a" + b"\x01" * 10])
def test_an_entry_that_is_no_callback_becomes_one_row(packed: bytes) -> None:
    for source, expected in (("fleet", ("fleet", "emnify")), ("gone\0", ("gone", "unknown")), ("", ("unknown",) * 2)):
        entry = Entry("1767225600000-7", source, packed)
        parsed, again = read.read(entry, SOURCES), read.read(entry, SOURCES)
        assert parsed == again
        assert (parsed.callback.source, parsed.callback.provider) == expected
        assert (parsed.callback.body, parsed.callback.received_at) == (packed, NOW)
        assert [dead_letter.stage for dead_letter in parsed.dead_letters] == ["unpack"]


def test_stand_ins_of_different_entries_have_different_ids() -> None:
    ids = {read.read(Entry(f"1767225600000-{n}", "fleet", b"x"), SOURCES).callback.id for n in range(100)}
    assert len(ids) == 100
