"""The ledger after replays, whoever else is at work and whatever dies."""

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from shared import inbox
from shared.catalogue import Kind
from shared.errors import Unavailable
from shared.inbox import Consumer, Reclassification, Reclassifier, RedisUnavailable
from tests.conftest import wait_until
from tests.keys import RECLASSIFIED
from tests.workers.drain.test_drainer import Killed
from tests.workers.scene import Scene
from workers.database import Database
from workers.dead_letters import ALL, Filter
from workers.drain import read
from workers.figures import figures_of
from workers.replay import WAITING, Change
from workers.rows import write


class Dying(Reclassifier):
    """Ends the process where a kill could: right before or after the ledger is corrected."""

    after = False

    def reclassify(self, changes: Sequence[Reclassification]) -> int:
        if self.after:
            super().reclassify(changes)
        raise Killed


@pytest.mark.parametrize("after", [False, True])
def test_a_death_between_commit_and_ledger_is_counted_exactly_once(scene: Scene, after: bool) -> None:
    scene.arrive(b"odd:1", b"odd:1", b"strange:2")
    scene.fix("odd")
    reclassifier = Dying([scene.client])
    reclassifier.after = after
    with pytest.raises(Killed):
        scene.replay(reclassifier=reclassifier)
    assert scene.outcomes() == ["stored", "duplicate", "dead"], "committed, but not yet counted"
    assert scene.rows("SELECT DISTINCT in_ledger FROM replays") == [{"in_ledger": False}]
    for _ in range(2):
        scene.replay(Filter(reason="nothing has this reason"))
        assert scene.ledger() == {"appended": 3, "stored": 1, "duplicate": 1, "dead": 1}
    assert scene.rows("SELECT DISTINCT in_ledger FROM replays") == [{"in_ledger": True}]
    assert not scene.client.exists(RECLASSIFIED), "nothing is left to remember"


def test_a_dry_run_counts_nothing(scene: Scene) -> None:
    scene.arrive(b"odd:1")
    scene.fix("odd")
    with pytest.raises(Killed):
        scene.replay(reclassifier=Dying([scene.client]))
    scene.replay(dry=True)
    assert scene.ledger() == {"appended": 1, "dead": 1}


def test_two_runs_that_count_at_once_count_once(scene: Scene) -> None:
    scene.arrive(*(b"odd:%d" % number for number in range(15)))
    scene.fix("odd")
    with pytest.raises(Killed):
        scene.replay(reclassifier=Dying([scene.client]))

    def count(_: int) -> None:
        database = Database(scene.url, statement_seconds=10)
        scene.replayer(database).count()
        database.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(4)))
    assert scene.ledger() == {"appended": 15, "stored": 15}


def test_a_run_leaves_to_another_what_that_counts(scene: Scene) -> None:
    scene.arrive(b"odd:1", b"fine:2", b"strange:3")
    scene.fix("odd")
    other = Database(scene.url, statement_seconds=10)

    class Overtaken(Reclassifier):
        def reclassify(self, changes: Sequence[Reclassification]) -> int:
            scene.replayer(other).count()
            return super().reclassify(changes)

    scene.replay(reclassifier=Overtaken([scene.client]))
    other.close()
    assert scene.ledger() == {"appended": 3, "stored": 2, "dead": 1}


def test_what_a_worker_may_still_count_is_left_alone(scene: Scene) -> None:
    scene.append(b"odd:1")
    drain = Consumer(scene.client, "dies before it acknowledges")
    entries = drain.claim(10, 0.01)
    batch = [read.read(entry, scene.sources) for entry in entries]
    scene.database.run(lambda connection: write(connection, batch))
    scene.fix("odd")
    assert scene.replay() == {Change("unknown odd", WAITING): 1}
    drain.hand_back(entries)
    scene.drain()
    assert scene.replay() == {Change("unknown odd", "stored"): 1}
    assert scene.ledger() == {"appended": 1, "stored": 1}


def test_a_ledger_that_never_counted_it_does_not_go_below_nothing(scene: Scene) -> None:
    scene.arrive(b"odd:1")
    scene.client.flushall()
    scene.fix("odd")
    scene.replay()
    assert inbox.take_snapshot(scene.client).ledger == {}


def test_without_redis_nothing_is_replayed(scene: Scene) -> None:
    scene.arrive(b"odd:1")
    scene.fix("odd")
    before = scene.everything()
    with inbox.connect("redis://127.0.0.1:1", 1.0) as nowhere, pytest.raises(RedisUnavailable):
        scene.replay(reclassifier=Reclassifier([nowhere]))
    assert scene.everything() == before


# Several at once.


def test_two_replays_at_once_are_one(scene: Scene) -> None:
    scene.arrive(*(b"odd:%d dr:m=sent" % number for number in range(10)))
    scene.arrive(*(b"strange:%d" % number for number in range(10)))
    scene.fix("odd")

    def run(_: int) -> Counter[Change]:
        database = Database(scene.url, statement_seconds=10)
        try:
            return scene.replay(database=database)
        finally:
            database.close()

    with ThreadPoolExecutor(3) as pool:
        changes: Counter[Change] = sum(pool.map(run, range(3)), Counter())
    assert changes == {
        Change("unknown odd", "stored"): 10,
        Change("unknown strange", "still dead: unknown strange"): 30,
    }
    assert Counter(scene.dead_letters()) == {
        (0, "replayed", "unknown odd", 2): 10,
        (0, "open", "unknown strange", 4): 10,
    }
    assert len(scene.rows("SELECT FROM replays")) == 10
    assert len(scene.rows("SELECT FROM callbacks")) == 20
    scene.assert_adds_up()


@pytest.mark.parametrize("first", ["replay", "drain"])
def test_a_replay_while_the_drain_stores_an_equal_event(scene: Scene, first: str) -> None:
    """Whoever comes first is held up before its COMMIT until the other waits for it."""
    scene.arrive(b"odd:1")
    scene.fix("odd")
    scene.append(b"fine:1")
    other = Database(scene.url, statement_seconds=10)
    held = Held(scene.url)
    run = {"drain": scene.drain, "replay": lambda: scene.replay(database=other)}
    table = {"replay": "replays", "drain": "callbacks"}[first]
    with held.before_commit(table), ThreadPoolExecutor(2) as pool:
        leading = pool.submit(run.pop(first))
        held.wait_for_waiters(1)
        (following,) = (pool.submit(action) for action in run.values())
        held.wait_for_waiters(2)
        held.release()
        leading.result()
        following.result()
    other.close()
    assert len(scene.rows("SELECT FROM inbound_messages")) == 1
    expected = ["stored", "duplicate"] if first == "replay" else ["duplicate", "stored"]
    assert scene.outcomes() == expected
    scene.assert_adds_up()


class Held:
    """Holds up whoever inserts into a table, at the end of the statement, by a lock of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._released = threading.Event()

    def before_commit(self, table: str) -> "Held":
        self._lock = psycopg.connect(self._url, autocommit=True)
        self._lock.execute("SELECT pg_advisory_lock(7)")
        self._lock.execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END'"
        )
        self._lock.execute(f"CREATE TRIGGER wait AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION wait()")
        return self

    def wait_for_waiters(self, count: int) -> None:
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database"
        waiting += " WHERE datname = current_database()) OR NOT granted AND locktype = 'transactionid'"
        wait_until(lambda: self._lock.execute(waiting).fetchone() == (count,), f"{count} waiting for a lock")

    def release(self) -> None:
        self._lock.execute("SELECT pg_advisory_unlock(7)")

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()


# Interrupted, slow, or impossible.


def test_a_replay_keeps_to_its_rate(scene: Scene) -> None:
    scene.arrive(*(b"odd:%d" % number for number in range(5)))
    scene.fix("odd")
    clock = [0.0]
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock[0] += seconds

    scene.replay(rate=4.0, now=lambda: clock[0], sleep=sleep)
    assert pauses == [0.25] * 4
    assert scene.outcomes() == ["stored"] * 5


@pytest.mark.parametrize("error", [KeyboardInterrupt, Unavailable])
def test_an_interrupted_replay_leaves_whole_callbacks_and_a_counted_ledger(
    scene: Scene, error: type[BaseException]
) -> None:
    scene.arrive(*(b"odd:%d" % number for number in range(6)))
    scene.fix("odd")
    changes: list[Change] = []

    def report(more: Sequence[Change]) -> None:
        changes.extend(more)
        if len(changes) == 3:
            raise error

    with pytest.raises(error):
        scene.replayer().run(ALL, report)
    assert Counter(scene.outcomes()) == {"stored": 3, "dead": 3}
    scene.assert_adds_up()
    scene.replay()
    assert scene.outcomes() == ["stored"] * 6
    scene.assert_adds_up()


def test_an_interrupt_in_the_middle_of_a_callback_takes_it_back(scene: Scene) -> None:
    scene.arrive(b"odd:1", b"odd:2")
    scene.fix("odd")

    class Interrupting(Reclassifier):
        calls = 0

        def is_counted(self, entry_id: str) -> bool:
            self.calls += 1
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().is_counted(entry_id)

    with pytest.raises(KeyboardInterrupt):
        scene.replay(reclassifier=Interrupting([scene.client]))
    assert scene.outcomes() == ["stored", "dead"]
    scene.assert_adds_up()


def test_a_database_that_is_not_migrated_says_so(scene: Scene, empty_database_url: str) -> None:
    database = Database(empty_database_url, statement_seconds=10)
    with pytest.raises(Unavailable, match="callbox migrate"):
        scene.replay(database=database)
    database.close()


def test_no_counter_falls_when_dead_letters_are_replayed(scene: Scene) -> None:
    """Else `increase()` counts twice what was repaired."""

    def counts() -> dict[str, float]:
        shown = figures_of(inbox.take_snapshot(scene.client), inbox.backlog(scene.client))
        return {
            f"{metric.name} {' '.join(labels[1:])}": value
            for metric, values in shown.items()
            if metric.kind is Kind.COUNTER
            for labels, value in values.items()
            if labels[:1] == ("s",)
        }

    scene.arrive(b"odd:1", b"odd:2", b"fine:3")
    before = counts()
    scene.fix("odd")
    scene.replay()
    after = counts()
    assert {name for name in before if after[name] < before[name]} == set()
    assert (after["callbox_callbacks_total dead"], after["callbox_callbacks_total stored"]) == (2, 1)
    assert after["callbox_replayed_total stored"] == 2
    scene.assert_adds_up()
