"""Dead letters chosen by filters, in pages, and discarded."""

from collections import Counter
from datetime import UTC, datetime

import psycopg
import pytest

from tests.workers.scene import Scene
from workers.dead_letters import ALL, Filter, callbacks, count_callbacks, discard, states


def test_filters_choose(scene: Scene) -> None:
    """Four dead letters of two sources and two reasons, a day between each two."""
    for body, source in ((b"odd:1", "s"), (b"strange:2", "s"), (b"odd:3", "t"), (b"strange:4", "t")):
        scene.arrive(body, source=source)
    with psycopg.connect(scene.url) as connection:
        connection.execute("UPDATE dead_letters SET created_at = timestamptz '2026-01-01Z' + id * interval '1 day'")
    ids = [row["callback_id"] for row in scene.rows("SELECT callback_id FROM dead_letters ORDER BY id")]
    for wanted, numbers in (
        (Filter(), [1, 2, 3, 4]),
        (Filter(source="t"), [3, 4]),
        (Filter(reason="unknown odd"), [1, 3]),
        (Filter(source="t", reason="unknown odd"), [3]),
        (Filter(since=datetime(2026, 1, 3, tzinfo=UTC)), [2, 3, 4]),
        (Filter(until=datetime(2026, 1, 3, tzinfo=UTC)), [1]),
        (Filter(since=datetime(2026, 1, 3, tzinfo=UTC), until=datetime(2026, 1, 4, tzinfo=UTC)), [2]),
        (Filter(ids=[1, 4, 99]), [1, 4]),
        (Filter(ids=[1, 4], source="t"), [4]),
        (Filter(ids=[]), []),
    ):
        assert list(callbacks(scene.database, wanted)) == [ids[number - 1] for number in numbers], wanted
        assert count_callbacks(scene.database, wanted) == len(numbers)
        assert discard(scene.database, wanted, dry=True).total() == len(numbers)
    scene.fix("odd", "strange")
    scene.replay(Filter(ids=[1, 4], source="t"))
    discard(scene.database, Filter(reason="unknown odd", source="s"))
    assert states(scene.database, [1, 2, 3, 4, 99]) == {1: "discarded", 2: "open", 3: "open", 4: "replayed"}


@pytest.mark.parametrize("page", [1, 2, 3])
def test_pages_leave_nothing_out_and_take_nothing_twice(
    scene: Scene, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.dead_letters.PAGE", page)
    scene.arrive(b"odd:1 odd:2 strange:3", b"WHOLE strange:4", b"strange:5 odd:6 strange:7")
    scene.fix("odd", "WHOLE")
    scene.replay()
    assert Counter(attempts for _, state, _, attempts in scene.dead_letters() if state == "replayed") == {2: 4}
    assert Counter(attempts for _, state, _, attempts in scene.dead_letters() if state == "open") == {2: 3, 1: 1}
    assert discard(scene.database, ALL) == {"unknown strange": 4}


# Discarding.


def test_discarded_dead_letters_are_closed_and_their_callbacks_stay(scene: Scene) -> None:
    scene.arrive(b"odd:1", b"a:2 odd:3")
    before = scene.rows("SELECT * FROM callbacks ORDER BY id")
    assert discard(scene.database, ALL, dry=True) == {"unknown odd": 2}
    assert {state for _, state, _, _ in scene.dead_letters()} == {"open"}
    assert discard(scene.database, ALL) == {"unknown odd": 2}
    assert {state for _, state, _, _ in scene.dead_letters()} == {"discarded"}
    assert scene.rows("SELECT * FROM callbacks ORDER BY id") == before
    assert discard(scene.database, ALL) == {}
    scene.fix("odd")
    assert scene.replay() == {}, "a discarded dead letter is not replayed"
    assert scene.ledger() == {"appended": 2, "stored": 1, "dead": 1}


def test_a_discarded_dead_letter_stays_so_when_its_callback_is_replayed(scene: Scene) -> None:
    scene.arrive(b"odd:1 strange:2")
    discard(scene.database, Filter(reason="unknown strange"))
    scene.fix("odd")
    scene.replay()
    assert scene.dead_letters() == [(0, "replayed", "unknown odd", 2), (1, "discarded", "unknown strange", 1)]
    assert scene.outcomes() == ["stored"]
