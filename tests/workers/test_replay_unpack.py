"""Replays of callbacks that could not be unpacked when they arrived."""

import pytest

from shared.callback import Callback, pack
from tests.workers.scene import Scene, packed_by_a_later_release
from workers.dead_letters import WHOLE
from workers.replay import Change


def test_a_callback_of_a_later_format_is_stored_under_its_true_id_once_it_can_be_read(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    (id,) = scene.arrive(b"fine:1", packed=packed_by_a_later_release)
    (stand_in,) = scene.rows("SELECT * FROM callbacks")
    assert stand_in["id"] != id
    assert scene.replay() == {Change("unreadable inbox entry", "still dead: unreadable inbox entry"): 1}
    scene.read_the_later_format(monkeypatch)
    assert scene.replay() == {Change("unreadable inbox entry", "stored"): 1}
    (row,) = scene.rows("SELECT * FROM callbacks")
    assert (row["id"], row["body"], row["method"]) == (id, b"fine:1", "POST")
    assert (row["inbox_id"], row["outcome"]) == (stand_in["inbox_id"], "stored")
    assert scene.rows("SELECT callback_id, state, attempts FROM dead_letters") == [
        {"callback_id": id, "state": "replayed", "attempts": 3}
    ]
    (record,) = scene.rows("SELECT * FROM replays")
    assert (record["callback_id"], record["stood_in"], record["after"]) == (id, stand_in["id"], "stored")
    scene.assert_adds_up()


def test_a_callback_that_can_be_unpacked_but_not_understood_is_stored_under_its_true_id_too(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = scene.arrive(b"WHOLE", b"odd:1 strange:2", packed=packed_by_a_later_release)
    scene.read_the_later_format(monkeypatch)
    scene.replay()
    assert [row["id"] for row in scene.rows("SELECT id FROM callbacks ORDER BY received_at")] == ids
    assert scene.outcomes() == ["dead", "dead"]
    assert scene.dead_letters() == [
        (WHOLE, "open", "unknown whole", 2),
        (WHOLE, "replayed", "unreadable inbox entry", 2),
        (0, "open", "unknown odd", 1),
        (1, "open", "unknown strange", 1),
    ]
    scene.fix("WHOLE", "odd", "strange")
    scene.replay()
    assert scene.outcomes() == ["stored", "stored"]
    scene.assert_adds_up()


@pytest.mark.parametrize("body", [b"fine:1", b"WHOLE"])
def test_a_callback_that_is_stored_under_its_true_id_already_is_a_repeat(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    packed: list[bytes] = []

    def keep(callback: Callback) -> bytes:
        packed.append(pack(callback))
        return packed[-1]

    (id,) = scene.arrive(body, packed=keep)
    before = scene.rows("SELECT * FROM callbacks")
    scene.enter("s", b"LATER" + packed[0])
    scene.drain()
    assert scene.ledger()["dead"] == (2 if body == b"WHOLE" else 1)
    scene.read_the_later_format(monkeypatch)
    assert scene.replay()[Change("unreadable inbox entry", "repeat")] == 1
    assert scene.rows("SELECT * FROM callbacks") == before
    assert {row["callback_id"] for row in scene.rows("SELECT callback_id FROM dead_letters")} == {id}
    assert scene.ledger()["repeat"] == 1
    scene.assert_adds_up()


def test_a_stand_in_whose_events_postgresql_refuses_stays_as_it_is(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.arrive(b"nul:1", packed=packed_by_a_later_release)
    before = scene.rows("SELECT * FROM callbacks")
    scene.read_the_later_format(monkeypatch)
    scene.replay()
    assert scene.rows("SELECT * FROM callbacks") == before
    assert scene.dead_letters() == [(WHOLE, "open", "refused by PostgreSQL", 2)]
