"""Outcomes and rows, on a real PostgreSQL: the statement is the subject."""

import random
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors

from shared.errors import Unavailable
from shared.events import DeliveryReport, Event, Status
from shared.outcomes import Outcome, Stage
from tests.workers.conftest import Idle, Rows, again, attempt, message, parsed, report
from workers.database import Database
from workers.dead_letters import WHOLE, DeadLetter
from workers.drain.read import Parsed
from workers.drain.run import Run
from workers.drain.store import Refused, Result, Store
from workers.rows import Stored

T = datetime(2026, 1, 1, tzinfo=UTC)
DEAD_LETTER = DeadLetter(WHOLE, Stage.PARSE, "not JSON", "at character 1")


def outcomes(results: list[Result]) -> list[str]:
    return [
        "refused" if isinstance(each, Refused) else ("repeat of " if each.repeat else "") + each.outcome
        for each in results
    ]


def test_each_callback_has_one_outcome(store: Store, rows: Rows) -> None:
    batch = [
        parsed(message("1")),
        parsed(message("1")),
        parsed(),
        parsed(dead_letters=[DEAD_LETTER]),
        parsed(report("2", Status.SENT), dead_letters=[DEAD_LETTER._replace(item=1)]),
        parsed(report("2", Status.SENT), report("2", Status.DELIVERED)),
        parsed(report("2", Status.SENT), dead_letters=[DEAD_LETTER]),
    ]
    expected = ["stored", "duplicate", "ignored", "dead", "stored", "stored", "dead"]
    assert outcomes(attempt(store, batch)) == expected
    assert sorted(row["outcome"] for row in rows("SELECT outcome FROM callbacks")) == sorted(expected)


def test_a_redelivered_batch_keeps_its_outcomes_and_changes_nothing(store: Store, rows: Rows) -> None:
    batch = [
        parsed(report("1", Status.SENT)),
        parsed(report("1", Status.SENT)),
        parsed(dead_letters=[DEAD_LETTER]),
        parsed(),
    ]
    first = attempt(store, batch)
    before = [rows(f"SELECT * FROM {table}") for table in ("callbacks", "delivery_reports", "deliveries")]
    assert attempt(store, batch) == first
    assert [rows(f"SELECT * FROM {table}") for table in ("callbacks", "delivery_reports", "deliveries")] == before


@pytest.mark.parametrize("together", [True, False])
def test_a_callback_appended_twice_is_a_repeat(store: Store, rows: Rows, together: bool) -> None:
    first = parsed(message("1"))
    second = again(first)
    results = attempt(store, [first, second]) if together else attempt(store, [first]) + attempt(store, [second])
    assert outcomes(results) == ["stored", "repeat of stored"]
    assert len(rows("SELECT FROM callbacks")) == 1


def test_the_raw_callback_is_kept_byte_for_byte(store: Store, rows: Rows) -> None:
    body = bytes(range(256))
    attempt(store, [parsed(body=body, query="a=%00&b=ü", headers={"user-agent": 'x"\\'}, remote_ip="2001:db8::1")])
    (row,) = rows("SELECT * FROM callbacks")
    assert (row["body"], row["query"], row["headers"]) == (body, "a=%00&b=ü", {"user-agent": 'x"\\'})
    assert str(row["remote_ip"]) == "2001:db8::1"


def test_an_event_keeps_its_fields(store: Store, rows: Rows) -> None:
    sent = message("1", "emoji 😀 \u200fمرحبا", sender="+1", recipient="2", part_number=1, part_count=2, sent_at=T)
    price = report("1", Status.DELIVERED, T, price=Decimal("0.0450"), currency="USD", parts=2, extra={"a": [1]})
    attempt(store, [parsed(sent, price)])
    (stored,) = rows("SELECT * FROM inbound_messages")
    assert (stored["text"], stored["sender"], stored["part_count"], stored["sent_at"]) == (sent.text, "+1", 2, T)
    (stored,) = rows("SELECT * FROM delivery_reports")
    assert (str(stored["price"]), stored["parts"], stored["extra"]) == ("0.0450", 2, {"a": [1]})


def test_mo_and_receipt_with_one_number_are_two_events(store: Store) -> None:
    assert outcomes(attempt(store, [parsed(message("7")), parsed(report("7", Status.SENT))])) == ["stored", "stored"]


def test_sources_do_not_share_their_dedupe_keys(store: Store) -> None:
    assert (
        outcomes(attempt(store, [parsed(message("7"), source="a"), parsed(message("7"), source="b")])) == ["stored"] * 2
    )


@pytest.mark.parametrize("together", [True, False])
def test_the_same_key_with_another_event_is_a_conflict(store: Store, rows: Rows, together: bool) -> None:
    first, second = parsed(message("1", "pay 10")), parsed(message("1", "pay 99"))
    results = attempt(store, [first, second]) if together else attempt(store, [first]) + attempt(store, [second])
    assert outcomes(results) == ["stored", "duplicate"]
    assert [row["id"] for row in rows("SELECT id FROM callbacks WHERE conflict")] == [second.callback.id]
    assert [row["text"] for row in rows("SELECT text FROM inbound_messages")] == ["pay 10"]


def test_a_repush_with_another_time_and_price_is_no_conflict(store: Store, rows: Rows) -> None:
    first = report("1", Status.DELIVERED, T, price=Decimal(1), extra={"rate": "1"})
    second = report("1", Status.DELIVERED, T + timedelta(hours=1), price=Decimal(2))
    attempt(store, [parsed(first), parsed(second)])
    assert rows("SELECT FROM callbacks WHERE conflict") == []


def test_a_callback_that_holds_one_event_twice_counts_it_once(store: Store, rows: Rows) -> None:
    same = report("1", Status.SENT)
    assert outcomes(attempt(store, [parsed(same, same)])) == ["stored"]
    assert [row["reports"] for row in rows("SELECT reports FROM deliveries")] == [1]


# Deliveries: the winner, and what does not depend on who wins.

REPORTS = [
    report("m", Status.QUEUED, T),
    report("m", Status.SENT, T + timedelta(seconds=9)),
    report("m", Status.UNKNOWN, T + timedelta(days=1), recipient="lost"),
    report("m", Status.EXPIRED, T, reason="late"),
    report("m", Status.FAILED, T, error_code="9"),
    report("m", Status.UNDELIVERED, T + timedelta(seconds=1), error_code="27", reason="absent"),
    report("m", Status.REJECTED, None),
    report("m", Status.DELIVERED, T, recipient="+1", variant="a"),
    report("m", Status.DELIVERED, T, recipient="+2", variant="b"),
    report("m", Status.DELIVERED, T - timedelta(days=1), read=True),
    report("m", Status.DELIVERED, T - timedelta(days=2), read=True, variant="again"),
]
_sources = count()  # hypothesis makes `random` begin anew for every example
ORDER_FREE = "status, final, error_code, reason, recipient, read_at, reports"


@pytest.mark.parametrize(
    ("reports", "winner"),
    [
        ([Status.SENT, Status.QUEUED], Status.SENT),
        ([Status.DELIVERED, Status.EXPIRED], Status.DELIVERED),
        ([Status.UNKNOWN, Status.SENT], Status.UNKNOWN),
        ([Status.UNKNOWN, Status.FAILED], Status.FAILED),
        ([Status.EXPIRED, Status.FAILED], Status.EXPIRED),  # one rank, one time: the row further down
        ([Status.ACCEPTED], Status.ACCEPTED),
    ],
)
def test_the_higher_rank_wins(store: Store, rows: Rows, reports: list[Status], winner: Status) -> None:
    for at_once in (True, False):
        name = f"m{at_once}"
        batch = [parsed(report(name, status, T)) for status in reports]
        for part in [batch] if at_once else [[one] for one in batch]:
            attempt(store, part)
    assert {(row["status"], row["final"]) for row in rows("SELECT status, final FROM deliveries")} == {
        (winner, winner.final)
    }


def test_of_one_rank_the_later_provider_time_wins_and_none_is_the_earliest(store: Store, rows: Rows) -> None:
    attempt(store, [parsed(report("m", Status.DELETED)), parsed(report("m", Status.FAILED, T))])
    attempt(store, [parsed(report("m", Status.EXPIRED, T - timedelta(1))), parsed(report("m", Status.REJECTED))])
    assert [row["status"] for row in rows("SELECT status FROM deliveries")] == ["failed"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_receipts_in_any_order_and_any_batches_give_one_state(store: Store, rows: Rows, data: Any) -> None:
    chosen = data.draw(st.lists(st.sampled_from(REPORTS), min_size=1, max_size=8, unique_by=id))
    states = set()
    for name in ("x", "y"):
        source = f"{name}{next(_sources)}"
        waiting = [parsed(event, source=source) for event in data.draw(st.permutations(chosen))]
        while waiting:
            size = data.draw(st.integers(1, len(waiting)))
            attempt(store, waiting[:size] + waiting[: data.draw(st.integers(0, 1))])
            waiting = waiting[size:]
        (row,) = rows(f"SELECT {ORDER_FREE} FROM deliveries WHERE source = '{source}'")
        states.add(tuple(row.values()))
    assert len(states) == 1
    assert states.pop()[-1] == len(chosen)


# What PostgreSQL refuses.

BAD: list[Event] = [
    report("bad", Status.SENT, parts=10**12),
    message("bad", "nul \x00 in it"),
    message("bad", "lone surrogate \ud800"),
    report("bad", Status.SENT, currency="\ud800"),
]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("place", [0, 4, 9])
def test_a_row_that_postgresql_refuses_hurts_only_itself(store: Store, rows: Rows, bad: Event, place: int) -> None:
    batch = [parsed(report(str(number), Status.SENT)) for number in range(9)]
    batch.insert(place, parsed(bad))
    results = attempt(store, batch)
    refused = results[place]
    assert isinstance(refused, Refused)
    assert refused.certain
    assert outcomes(results[:place] + results[place + 1 :]) == ["stored"] * 9
    assert rows("SELECT FROM dead_letters") == []
    assert store.store_dead(batch[place]._replace(events=[], dead_letters=[refused.dead_letter])).outcome == "dead"
    (dead_letter,) = rows("SELECT * FROM dead_letters")
    assert (dead_letter["callback_id"], dead_letter["stage"]) == (batch[place].callback.id, "store")
    assert "surrogate" not in dead_letter["detail"]
    assert len(rows("SELECT FROM callbacks")) == 10


def test_a_batch_whose_rows_are_too_many_at_once_is_halved(
    store: Store, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.rows.STATEMENT_CHARS", 4000)
    batch = [parsed(message(str(number), "x" * 500)) for number in range(9)]
    batch.insert(4, parsed(message("large", "x" * 5000)))
    results = attempt(store, batch)
    assert isinstance(results.pop(4), Refused)
    assert outcomes(results) == ["stored"] * 9
    assert len(rows("SELECT FROM callbacks")) == 9


def test_a_batch_that_takes_too_long_is_halved(database_url: str, rows: Rows) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END';"
            "CREATE TRIGGER dawdle BEFORE INSERT ON inbound_messages FOR EACH ROW EXECUTE FUNCTION dawdle()"
        )
    store = Store(Database(database_url, statement_seconds=0.5))
    try:
        assert outcomes(attempt(store, [parsed(message(str(number))) for number in range(8)])) == ["stored"] * 8
    finally:
        store.database.close()
    assert len(rows("SELECT FROM inbound_messages")) == 8


def test_while_a_table_is_locked_postgresql_is_away_and_nothing_is_halved(database_url: str) -> None:
    store = Store(Database(database_url, statement_seconds=0.4))
    consumer = Idle()
    try:
        assert store.is_working()
        with psycopg.connect(database_url) as other:
            other.execute("LOCK TABLE inbound_messages")
            assert not store.is_working()
            with pytest.raises(Unavailable, match="55P03"):
                store.attempt([parsed(message("1")), parsed(message("2"))], Run(consumer, seconds=60))
        assert consumer.renewals == 0
        assert store.is_working()
    finally:
        store.database.close()


def test_asking_whether_postgresql_answers_leaves_nothing_behind(store: Store, rows: Rows) -> None:
    assert store.is_working()
    for table in ("callbacks", "inbound_messages", "delivery_reports", "deliveries", "dead_letters"):
        assert rows(f"SELECT FROM {table}") == []


def test_looking_for_the_callback_at_fault_stops_when_the_time_is_up(store: Store, rows: Rows) -> None:
    with pytest.raises(Unavailable, match="too slow"):
        attempt(store, [parsed(message("1")), parsed(BAD[1])], seconds=0)
    assert rows("SELECT FROM callbacks") == []


@pytest.mark.parametrize("kilobytes", [1, 20_000], ids=["while it should answer", "while it should read"])
def test_a_postgresql_that_says_nothing_is_cut_off(database_url: str, kilobytes: int) -> None:
    """A relay that stops forwarding, as a frozen server or a host that is gone."""
    address = urlsplit(database_url)
    flows = threading.Event()
    flows.set()

    def forward(from_: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := from_.recv(65536):
                flows.wait()
                to.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client = listener.accept()[0]
                    server = socket.create_connection(("127.0.0.1", address.port or 0))
                    for pair in ((client, server), (server, client)):
                        threading.Thread(target=forward, args=pair, daemon=True).start()
                        sockets.extend(pair)

        sockets: list[socket.socket] = []
        threading.Thread(target=serve, daemon=True).start()
        url = database_url.replace(f":{address.port}/", f":{listener.getsockname()[1]}/")
        store = Store(Database(url, statement_seconds=0.3))
        try:
            assert outcomes(attempt(store, [parsed(message("1"))])) == ["stored"]
            flows.clear()
            with pytest.raises(Unavailable, match="does not answer"):
                attempt(store, [parsed(message("2", text="k" * 1000 * kilobytes))])
            flows.set()
            assert outcomes(attempt(store, [parsed(message("2"))])) in (["stored"], ["duplicate"])
        finally:
            flows.set()
            store.database.close()
            for each in sockets:
                each.close()


def test_a_missing_table_says_what_to_do(empty_database_url: str) -> None:
    store = Store(Database(empty_database_url, statement_seconds=10))
    with pytest.raises(Unavailable, match="callbox migrate"):
        attempt(store, [parsed()])
    with pytest.raises(Unavailable, match="callbox migrate"):
        store.database.check()
    store.database.close()


def test_a_server_that_is_not_there_is_unavailable_without_its_password() -> None:
    with pytest.raises(Unavailable) as caught:
        attempt(Store(Database("postgresql://me:hidden@127.0.0.1:1/x", statement_seconds=1)), [parsed()])
    assert "hidden" not in str(caught.value)


def test_a_lost_connection_is_opened_again(store: Store, database_url: str) -> None:
    assert outcomes(attempt(store, [parsed(message("1"))])) == ["stored"]
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    with pytest.raises(Unavailable):
        attempt(store, [parsed(message("2"))])
    assert outcomes(attempt(store, [parsed(message("2"))])) == ["stored"]


def test_the_session_commits_to_disk(store: Store) -> None:
    store.database.check()
    connection = store.database._connected()
    assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)


# Several workers at once.


def test_writers_of_the_same_events_agree_on_every_outcome(database_url: str, rows: Rows) -> None:
    dice = random.Random(7)
    statuses = list(Status)

    def batches() -> list[list[Parsed]]:
        events: list[DeliveryReport] = [
            report(str(dice.randrange(40)), dice.choice(statuses), T + timedelta(seconds=dice.randrange(3)))
            for _ in range(1200)
        ]
        callbacks = [parsed(event) for event in events]
        return [callbacks[start : start + 60] for start in range(0, 1200, 60)]

    shared = batches()
    whole = [part for part in shared for _ in range(2)]  # every batch is stored twice, by whoever comes
    dice.shuffle(whole)

    def work(parts: list[list[Parsed]]) -> list[tuple[Parsed, Result]]:
        store = Store(Database(database_url, statement_seconds=10))
        try:
            return [pair for part in parts for pair in zip(part, attempt(store, part), strict=True)]
        finally:
            store.database.close()

    with ThreadPoolExecutor(4) as pool:
        done = [pair for pairs in pool.map(work, [whole[start::4] for start in range(4)]) for pair in pairs]
    stored = {row["id"]: row["outcome"] for row in rows("SELECT id, outcome FROM callbacks")}
    assert len(stored) == 1200
    assert all(result == Stored(Outcome(stored[one.callback.id]), False, False) for one, result in done)
    distinct = len(rows("SELECT FROM delivery_reports"))
    assert sum(outcome == "stored" for outcome in stored.values()) == distinct
    assert sum(row["reports"] for row in rows("SELECT reports FROM deliveries")) == distinct


@pytest.mark.parametrize("works", [True, False])
def test_a_server_without_transaction_ids_is_away_and_a_row_too_long_is_a_row(
    failing: Callable[..., Store], monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    """PostgreSQL says 54000 of both: whether it takes an ordinary callback distinguishes them."""
    store = failing(errors.ProgramLimitExceeded())
    monkeypatch.setattr(store, "is_working", lambda: works)
    if works:
        assert [type(result) for result in attempt(store, [parsed(message("1"))])] == [Refused]
    else:
        with pytest.raises(Unavailable, match="takes no callback at all"):
            attempt(store, [parsed(message("1"))])


@pytest.mark.parametrize(
    "error",
    [
        errors.ReadOnlySqlTransaction,  # 25006: a standby, or a primary that was demoted
        errors.AdminShutdown,  # 57P01
        errors.CrashShutdown,
        errors.CannotConnectNow,  # 57P03: it recovers
        errors.TooManyConnections,
        errors.DiskFull,
        errors.IdleInTransactionSessionTimeout,
    ],
)
def test_what_a_server_says_of_itself_is_an_outage_and_no_fault_of_a_callback(
    store: Store, error: type[psycopg.Error]
) -> None:
    def work(connection: object) -> None:
        raise error

    with pytest.raises(Unavailable, match="PostgreSQL does not answer or refuses to work"):
        store.database.run(work)


def test_a_standby_takes_nothing_and_its_connection_is_left(database_url: str, rows: Rows) -> None:
    """A server that was demoted keeps its connections: the next one asks anew which host takes writes."""
    store = Store(Database(database_url, statement_seconds=10))
    try:
        store.database.check()
        before = store.database._connected()
        before.execute("SET default_transaction_read_only = on")
        with pytest.raises(Unavailable, match="25006"):
            attempt(store, [parsed(message("1"))])
        assert before.closed
        assert outcomes(attempt(store, [parsed(message("1"))])) == ["stored"]
    finally:
        store.database.close()
    assert len(rows("SELECT FROM callbacks")) == 1
