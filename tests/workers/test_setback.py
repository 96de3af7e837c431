"""A PostgreSQL that no longer has what it had stored is noticed."""

from datetime import UTC, datetime, timedelta

import pytest

from deploy.commands import status
from deploy.commands.status import Ledger
from shared.callback import pack
from shared.inbox import Inbox, Latest, Shard, note_latest, read_notes, take_snapshot
from tests.workers.scene import Scene
from workers.database import Database
from workers.setback import KEPT, report_latest


def look(scene: Scene) -> None:
    report_latest(Inbox([scene.client], scene.client), scene.database)


def warned(client: Shard) -> str:
    return " ".join(status.warnings(Ledger(take_snapshot(client), {}, {}), datetime.now(UTC)))


def test_the_latest_callback_is_noted_and_a_later_one_takes_its_place(scene: Scene) -> None:
    look(scene)
    assert read_notes(scene.client).latest is None
    for _ in range(2):
        *_, last = scene.arrive(b"mo:1", b"mo:2")
        look(scene)
        latest = read_notes(scene.client).latest
        assert latest is not None
        assert latest.id == last
    assert read_notes(scene.client).setback is None
    assert warned(scene.client) == ""


@pytest.mark.parametrize("left", [0, 1])
def test_one_that_is_gone_is_a_setback_which_stays_in_the_status(scene: Scene, left: int) -> None:
    ids = scene.arrive(b"mo:1", b"mo:2")
    look(scene)
    with scene.database.transaction() as connection:
        connection.execute("DELETE FROM callbacks WHERE id <> ALL(%s)", (ids[:left],))
    look(scene)
    notes = read_notes(scene.client)
    assert notes.setback is not None
    assert (notes.setback.has is not None) == bool(left)
    scene.arrive(b"mo:3")
    look(scene)
    assert read_notes(scene.client).setback == notes.setback
    assert f"{notes.setback.had:%H:%M:%S} UTC" in warned(scene.client)
    assert "PostgreSQL went back" in warned(scene.client)


def test_what_retention_may_have_removed_is_no_setback(scene: Scene) -> None:
    *_, last = scene.arrive(b"mo:1")
    note_latest(scene.client, Latest(last, datetime.now(UTC) - KEPT - timedelta(seconds=1)))
    with scene.database.transaction() as connection:
        connection.execute("DELETE FROM callbacks")
    look(scene)
    assert read_notes(scene.client).setback is None


def test_a_postgresql_that_is_away_says_nothing(scene: Scene) -> None:
    scene.arrive(b"mo:1")
    look(scene)
    before = read_notes(scene.client)
    report_latest(Inbox([scene.client], scene.client), Database("postgresql://127.0.0.1:1/x", 5))
    assert read_notes(scene.client) == before


def test_a_callback_that_a_replay_stores_anew_is_no_setback(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be read has the id of a stand-in, which the replay takes away."""
    scene.arrive(b"mo:1", packed=lambda callback: b"LATER" + pack(callback))
    look(scene)
    assert read_notes(scene.client).latest is None
    scene.read_the_later_format(monkeypatch)
    scene.replay()
    assert scene.outcomes() == ["stored"]
    look(scene)
    assert read_notes(scene.client).setback is None
    assert read_notes(scene.client).latest is not None
