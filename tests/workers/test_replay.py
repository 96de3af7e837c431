"""Replays on real servers: callbacks arrive through the inbox, die, and are replayed after a fix."""

from collections.abc import Iterator

import psycopg
import pytest

from shared.callback import Callback
from shared.errors import Malformed
from shared.events import Event, InboundMessage
from shared.inbox import Holds
from shared.source import Source
from tests.keys import LEDGER
from tests.workers.scene import Scene, packed_by_a_later_release
from workers.dead_letters import WHOLE
from workers.drain.holds import this_release
from workers.replay import GONE, Change

# What a replay does.


def test_a_replay_after_a_fix_stores_events_and_moves_outcome_dead_letter_and_ledger(scene: Scene) -> None:
    scene.arrive(b"odd:1", b"strange:dr", b"fine")
    scene.arrive(b"WHOLE dr:7=delivered")
    before = scene.rows("SELECT * FROM callbacks ORDER BY received_at")
    assert scene.ledger() == {"appended": 4, "stored": 1, "dead": 3}
    scene.fix("odd", "WHOLE")
    assert scene.replay() == {
        Change("unknown odd", "stored"): 1,
        Change("unknown whole", "stored"): 1,
        Change("unknown strange", "still dead: unknown strange"): 1,
    }
    assert scene.outcomes() == ["stored", "dead", "stored", "stored"]
    assert scene.dead_letters() == [
        (0, "replayed", "unknown odd", 2),
        (0, "open", "unknown strange", 2),
        (WHOLE, "replayed", "unknown whole", 2),
    ]
    assert scene.ledger() == {"appended": 4, "stored": 3, "dead": 1}
    assert scene.rows("SELECT status, reports FROM deliveries") == [{"status": "delivered", "reports": 1}]
    after = scene.rows("SELECT * FROM callbacks ORDER BY received_at")
    assert [{**row, "outcome": 0} for row in after] == [{**row, "outcome": 0} for row in before]
    assert [tuple(row.values()) for row in scene.rows("SELECT before, after, letters, in_ledger FROM replays")] == [
        ("dead", "stored", 1, True)
    ] * 2
    scene.assert_adds_up()


def test_replaying_twice_is_replaying_once(scene: Scene) -> None:
    scene.arrive(b"odd:1", b"odd:1", b"dr:7=sent odd:2")
    scene.fix("odd")
    scene.replay()
    first, ledger = scene.everything(), scene.ledger()
    assert scene.replay() == {}
    assert scene.replayer().replay(first["callbacks"][0]["id"]) == []
    assert (scene.everything(), scene.ledger()) == (first, ledger)


def test_what_was_dead_may_turn_out_a_duplicate_or_empty(scene: Scene) -> None:
    scene.arrive(b"fine:1", b"odd:1", b"END")
    scene.fix("odd", "END")
    assert scene.replay() == {Change("unknown odd", "duplicate"): 1, Change("unknown whole", "ignored"): 1}
    assert scene.outcomes() == ["stored", "duplicate", "ignored"]
    assert scene.ledger() == {"appended": 3, "stored": 1, "duplicate": 1, "ignored": 1}
    scene.assert_adds_up()


def test_a_partly_dead_callback_stays_stored_and_keeps_what_it_brought(scene: Scene) -> None:
    (id,) = scene.arrive(b"a:1 odd:2 strange:3 dr:7=sent")
    scene.words.texts["1"] = "read differently by this release"
    before = scene.rows("SELECT * FROM inbound_messages")
    scene.fix("odd")
    assert scene.replay() == {
        Change("unknown odd", "stored"): 1,
        Change("unknown strange", "still dead: unknown strange"): 1,
    }
    assert scene.outcomes() == ["stored"]
    assert scene.dead_letters() == [(1, "replayed", "unknown odd", 2), (2, "open", "unknown strange", 2)]
    assert scene.rows("SELECT * FROM inbound_messages ORDER BY id")[:1] == before
    assert [row["message_id"] for row in scene.rows("SELECT message_id FROM inbound_messages ORDER BY id")] == [
        "1",
        "2",
    ]
    assert scene.rows("SELECT reports FROM deliveries") == [{"reports": 1}]
    assert scene.rows("SELECT conflict FROM callbacks") == [{"conflict": False}], "it does not conflict with itself"
    scene.fix("strange")
    assert scene.replay() == {Change("unknown strange", "stored"): 1}
    assert len(scene.rows(f"SELECT FROM inbound_messages WHERE callback_id = '{id}'")) == 3
    assert scene.ledger() == {"appended": 1, "stored": 1}


def test_a_conflict_stays_and_a_new_one_is_found(scene: Scene) -> None:
    scene.arrive(b"a:1 a:2")
    scene.words.texts |= {"1": "another text"}
    scene.arrive(b"a:1 odd:3", b"odd:2")
    conflicts = "SELECT conflict FROM callbacks ORDER BY received_at"
    assert [row["conflict"] for row in scene.rows(conflicts)] == [False, True, False]
    scene.fix("odd")
    scene.words.texts = {"2": "another text"}
    scene.replay()
    assert [row["conflict"] for row in scene.rows(conflicts)] == [False, True, True]


def test_a_whole_that_splits_leaves_dead_letters_for_its_items_and_is_not_tried_again(scene: Scene) -> None:
    scene.arrive(b"odd:1 a:2 WHOLE:3 strange:4", b"WHOLE odd:5")
    scene.fix("WHOLE")
    changes = scene.replay()
    assert changes[Change("unknown whole", "stored")] == 2
    assert scene.dead_letters() == [
        (WHOLE, "replayed", "unknown whole", 2),
        (0, "open", "unknown odd", 2),
        (3, "open", "unknown strange", 1),
        (WHOLE, "replayed", "unknown whole", 2),
        (1, "open", "unknown odd", 1),
    ]
    scene.assert_adds_up()


def test_a_whole_that_splits_into_nothing_but_dead_letters_is_still_dead(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.arrive(b"WHOLE")

    def parse(callback: Callback, source: Source) -> Iterator[Event | Malformed]:
        yield Malformed("unknown item")

    monkeypatch.setattr(scene.words, "parse", parse)
    assert scene.replay() == {Change("unknown whole", "still dead: unknown item"): 1}
    assert scene.dead_letters() == [(WHOLE, "replayed", "unknown whole", 2), (0, "open", "unknown item", 1)]
    assert scene.ledger() == {"appended": 1, "dead": 1}


def test_items_beyond_a_failure_stay_open(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.arrive(b"odd:1 a:2 strange:3")

    def parse(callback: Callback, source: Source) -> Iterator[Event | Malformed]:
        yield InboundMessage(key=("mo", "1"), message_id="1")
        raise Malformed("unknown whole", "after the first")

    monkeypatch.setattr(scene.words, "parse", parse)
    scene.replay()
    assert scene.dead_letters() == [
        (WHOLE, "open", "unknown whole", 1),
        (0, "replayed", "unknown odd", 2),
        (2, "open", "unknown whole", 2),
    ]


# What stays dead.


def test_what_is_still_dead_counts_the_try_and_says_why_today(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.arrive(b"WHOLE")
    before = scene.rows("SELECT *, xmin::text FROM callbacks")

    def parse(callback: Callback, source: Source) -> Iterator[Event | Malformed]:
        raise Malformed("another reason", "another detail")

    monkeypatch.setattr(scene.words, "parse", parse)
    assert scene.replay() == {Change("unknown whole", "still dead: another reason"): 1}
    scene.replay()
    assert scene.dead_letters() == [(WHOLE, "open", "another reason", 3)]
    assert scene.rows("SELECT detail FROM dead_letters") == [{"detail": "another detail"}]
    assert scene.rows("SELECT *, xmin::text FROM callbacks") == before, "nothing else changes"
    assert scene.rows("SELECT FROM replays") == []
    assert scene.ledger() == {"appended": 1, "dead": 1}


def test_a_configuration_without_the_source_forgets_no_reason(scene: Scene) -> None:
    scene.arrive(b"WHOLE")
    del scene.sources["s"]
    assert scene.replay() == {Change("unknown whole", "still dead: source not configured"): 1}
    assert scene.dead_letters() == [(WHOLE, "open", "unknown whole", 2)]


def test_a_source_that_was_not_configured_is_replayed_once_it_is(scene: Scene) -> None:
    source = scene.sources.pop("s")
    Holds(scene.client).waive("s", this_release())
    scene.arrive(b"fine")
    scene.sources["s"] = source
    assert scene.replay() == {Change("source not configured", "stored"): 1}
    scene.assert_adds_up()


def test_what_postgresql_refuses_again_stays_open_and_hurts_no_other(scene: Scene) -> None:
    scene.arrive(b"nul:1", b"odd:2", b"odd:3 nul:4")
    scene.fix("odd")
    refused = "refused by PostgreSQL"
    assert scene.replay() == {
        Change(refused, f"still dead: {refused}"): 2,
        Change("unknown odd", "stored"): 1,
    }
    assert scene.outcomes() == ["dead", "stored", "dead"]
    assert [(state, attempts) for _, state, _, attempts in scene.dead_letters()] == [
        ("open", 2),
        ("replayed", 2),
        ("open", 2),
    ]
    scene.words.texts |= {"1": "no nul", "4": "no nul"}
    assert scene.replay() == {Change(refused, "stored"): 2}
    assert scene.outcomes() == ["stored"] * 3
    scene.assert_adds_up()


def test_a_callback_whose_raw_row_is_gone_is_left_alone(scene: Scene) -> None:
    scene.arrive(b"odd:1")
    scene.fix("odd")
    with psycopg.connect(scene.url) as connection:
        connection.execute("DELETE FROM callbacks")
    assert scene.replay() == {Change("unknown odd", GONE): 1}
    assert scene.dead_letters() == [(0, "open", "unknown odd", 1)]


# Dry.


def test_dry_changes_nothing_and_reports_the_same(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.arrive(b"odd:1", b"odd:1", b"odd:1 strange:2", b"nul:3", b"WHOLE a:4 strange:5", b"a:6 odd:7", b"odd:6")
    scene.arrive(b"odd:8", b"odd:8", packed=packed_by_a_later_release)
    (packed,) = scene.rows("SELECT body FROM callbacks WHERE method = '' ORDER BY received_at, id LIMIT 1")
    scene.enter("s", packed["body"])  # the same callback once more
    scene.drain()
    scene.fix("odd", "WHOLE")
    scene.read_the_later_format(monkeypatch)
    before, ledger = scene.everything(), scene.client.hgetall(LEDGER)
    dry = scene.replay(dry=True)
    assert (scene.everything(), scene.client.hgetall(LEDGER)) == (before, ledger)
    assert scene.replay() == dry
    assert scene.everything() != before
