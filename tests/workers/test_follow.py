"""Following events: every one that is committed, once, in whatever order transactions end."""

import random
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from shared.events import Status
from shared.outcomes import Stage
from tests.workers.conftest import attempt, message, parsed, report
from workers import follow
from workers.dead_letters import WHOLE, DeadLetter
from workers.drain.store import Store
from workers.follow import Follower
from workers.queries import Queries
from workers.rows import write

Connection = psycopg.Connection[Any]


@pytest.fixture
def queries(database_url: str) -> Iterator[Queries]:
    with Queries(database_url) as queries:
        yield queries


@pytest.fixture
def writer(database_url: str) -> Iterator[Connection]:
    """Of a worker that takes its time."""
    with psycopg.connect(database_url) as connection:
        yield connection


def looked(follower: Follower, queries: Queries) -> list[str | None]:
    return [row.message_id for row in follower.look(queries)]


def test_what_is_committed_is_seen_once_and_what_was_there_before_is_not(store: Store, queries: Queries) -> None:
    attempt(store, [parsed(message("before"))])
    follower = Follower()
    assert [row.message_id for row in follower.begin(queries)] == ["before"]
    assert looked(follower, queries) == []
    dead = parsed(dead_letters=[DeadLetter(WHOLE, Stage.PARSE, "not JSON", "")])
    attempt(store, [parsed(message("1")), parsed(report("2", Status.SENT)), dead])
    assert {row.kind: row.message_id for row in follower.look(queries)} == {
        "message": "1",
        "report": "2",
        "dead_letter": None,
    }
    assert looked(follower, queries) == []
    attempt(store, [parsed(message("1"))])
    assert looked(follower, queries) == [], "a duplicate is no event"


@pytest.mark.parametrize("is_nested", [False, True])
def test_what_is_committed_late_is_seen_although_later_ids_were(
    store: Store, queries: Queries, writer: Connection, is_nested: bool
) -> None:
    follower = Follower()
    follower.begin(queries)
    attempt(store, [parsed(message("0"))])
    with ExitStack() as nested:
        writer.execute("SELECT 1")
        if is_nested:
            nested.enter_context(writer.transaction())
        write(writer, [parsed(message("late"), report("late", Status.SENT))])
    for number in range(1, 4):
        attempt(store, [parsed(message(str(number)))])
        assert looked(follower, queries) == (["0", "1"] if number == 1 else [str(number)])
    writer.commit()
    assert looked(follower, queries) == ["late", "late"]
    assert looked(follower, queries) == []


def test_a_transaction_that_began_before_the_first_look_is_seen(
    store: Store, queries: Queries, writer: Connection
) -> None:
    write(writer, [parsed(message("early"))])
    attempt(store, [parsed(message("before"))])
    follower = Follower()
    follower.begin(queries)
    attempt(store, [parsed(message("after"))])
    assert looked(follower, queries) == ["after"]
    writer.commit()
    assert looked(follower, queries) == ["early"]


def test_what_is_taken_back_is_never_seen(store: Store, queries: Queries, writer: Connection) -> None:
    follower = Follower()
    follower.begin(queries)
    write(writer, [parsed(message("never"))])
    assert looked(follower, queries) == []
    writer.rollback()
    attempt(store, [parsed(message("1"))])
    assert looked(follower, queries) == ["1"]


def test_events_of_one_source_only(store: Store, queries: Queries) -> None:
    follower = Follower("t")
    follower.begin(queries)
    attempt(store, [parsed(message("1")), parsed(message("2"), source="t")])
    assert looked(follower, queries) == ["2"]


def test_earlier_transactions_come_first(store: Store, queries: Queries, writer: Connection) -> None:
    follower = Follower()
    follower.begin(queries)
    write(writer, [parsed(report("first", Status.SENT))])
    attempt(store, [parsed(message("second"))])
    writer.commit()
    assert looked(follower, queries) == ["first", "second"]


def test_more_than_a_page_comes_in_several_looks(
    store: Store, queries: Queries, writer: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "PAGE", 3)
    follower = Follower()
    follower.begin(queries)
    write(writer, [parsed(message("late"))])
    for number in range(8):
        attempt(store, [parsed(message(str(number)))])
    seen = [looked(follower, queries)]
    assert follower.is_behind
    writer.commit()
    while follower.is_behind:
        seen.append(looked(follower, queries))
    assert sorted(id for page in seen for id in page if id) == [*map(str, range(8)), "late"]
    assert max(map(len, seen)) == 3


def test_in_any_interleaving_each_is_seen_once(database_url: str, queries: Queries) -> None:
    """Several writers begin, write and end at random while somebody looks, also over a connection that was lost."""
    dice = random.Random(7)
    follower = Follower()
    follower.begin(queries)
    seen: list[str | None] = []
    committed: list[str] = []
    open_rows: dict[Connection, list[str]] = {}
    with ExitStack() as stack:
        connections = [stack.enter_context(psycopg.connect(database_url)) for _ in range(5)]
        for number in range(300):
            connection = dice.choice(connections)
            match dice.choice(("write", "write", "commit", "rollback", "look", "lose")):
                case "write":
                    write(connection, [parsed(message(f"{number}")), parsed(report(f"r{number}", Status.SENT))])
                    open_rows.setdefault(connection, []).extend([f"{number}", f"r{number}"])
                case "commit":
                    connection.commit()
                    committed += open_rows.pop(connection, [])
                case "rollback" if dice.random() < 0.3:
                    connection.rollback()
                    open_rows.pop(connection, None)
                case "look":
                    seen += looked(follower, queries)
                case "lose" if dice.random() < 0.1:
                    queries = stack.enter_context(Queries(database_url))
        for connection in connections:
            connection.commit()
            committed += open_rows.pop(connection, [])
        seen += looked(follower, queries)
    assert sorted(map(str, seen)) == sorted(committed)
    assert len(committed) > 50
