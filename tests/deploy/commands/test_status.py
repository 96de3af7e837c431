"""What `callbox status` makes of a snapshot."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from deploy.commands import status
from deploy.commands.status import Ledger, Status
from deploy.table import fitting_width
from shared.inbox import Depth, Hold, Notes, Snapshot

SNAPSHOT = Snapshot(
    depth=Depth(entries=4, oldest_seconds=1.23456),
    ledger={
        "fleet": {"appended": 10, "repeat": 1, "stored": 4, "duplicate": 1, "dead": 1, "ignored": 0},
        "otp": {"appended": 2, "repeat": 0, "stored": 2, "duplicate": 0, "dead": 0, "ignored": 0},
    },
    oddities={"otp": {"late": 2, "conflict": 1}, "fleet": {"[red]": 3}},
    spooled={"otp": 5},
    holds={"fleet": Hold("its parser failed", datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp())},
    notes=Notes(since=datetime(2026, 1, 2, 12, tzinfo=UTC).timestamp()),
    unmet={"a-host": {"postgresql": ["fsync is off"]}},
    ingress_unmet={"b-host": {"spool": ["cannot be made"]}},
    quarantine={"otp": {"requests": 12, "bytes": 9000}},
)


def rows(made: Table) -> list[list[str]]:
    """The words of each line, without the rule."""
    output = io.StringIO()
    Console(file=output, width=1000, highlight=False).print(made)
    heading, _, *lines = output.getvalue().splitlines()
    return [line.split() for line in (heading, *lines)]


LEDGER = Ledger(SNAPSHOT, {"fleet": 1, "otp": -2}, {"fleet": 1.23456})
NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


def test_the_ledger_has_a_line_for_each_source_and_one_for_all_that_adds_up() -> None:
    _, fleet, otp, total = rows(status.ledger_table(LEDGER))
    assert fleet == ["fleet", "9", "4", "1", "1", "0", "3", "0", "1.235"]
    assert otp == ["otp", "7", "2", "0", "0", "0", "0", "5", "0.0"]
    assert total == ["all", "16", "6", "1", "1", "0", "3", "5", "1.235"]


def test_the_ledger_fits_a_terminal_of_80_columns() -> None:
    made, output = status.ledger_table(LEDGER), io.StringIO()
    Console(file=output, width=fitting_width(made, 80), highlight=False).print(made)
    assert max(len(line.rstrip()) for line in output.getvalue().splitlines()) <= 80


def test_an_empty_inbox_has_a_ledger_too() -> None:
    empty = Ledger(Snapshot(Depth(0, 0.0), {}, {}, {}), {}, {})
    assert rows(status.ledger_table(empty))[1:] == [["all", *"0000000", "0.0"]]
    assert list(status.warnings(empty, NOW)) == []


def test_oddities_are_sorted_by_source_and_name() -> None:
    assert rows(status.oddities(SNAPSHOT))[1:] == [
        ["fleet", "[red]", "3"],
        ["otp", "conflict", "1"],
        ["otp", "late", "2"],
    ]


def test_the_document_has_everything_for_programs() -> None:
    found: dict[str, Any] = status.document(Status(LEDGER, {"otp": 4}))
    assert (found["accepted"], found["pending"], found["difference"]) == (16, 3, 1)
    assert found["held"] == {"fleet": "its parser failed"}
    assert found["sources"]["otp"]["oddities"] == {"late": 2, "conflict": 1}
    assert found["sources"]["otp"]["spooled"] == 5
    assert found["sources"]["fleet"]["oldest_pending_seconds"] == 1.235
    assert (found["open_dead_letters"], found["sources"]["otp"]["open_dead_letters"]) == (4, 4)
    assert found["sources"]["fleet"]["open_dead_letters"] == 0
    assert (found["redis"], found["postgresql"]) == ("ok", "ok")
    assert found["ledger_since"] == NOW
    assert found["quarantine"] == {"otp": {"requests": 12, "bytes": 9000}}


def test_what_a_server_that_is_away_would_know_is_null_and_the_rest_is_there() -> None:
    found = status.document(Status("Redis does not answer", {"otp": 4}))
    assert (found["redis"], found["accepted"], found["sources"]) == ("Redis does not answer", None, None)
    assert found["open_dead_letters"] == 4
    assert found.keys() == status.document(Status(LEDGER, {"otp": 4})).keys()
    found = status.document(Status(LEDGER, "PostgreSQL does not answer"))
    assert (found["postgresql"], found["open_dead_letters"]) == ("PostgreSQL does not answer", None)
    assert (found["accepted"], found["sources"]["otp"]["open_dead_letters"]) == (16, None)


def test_for_people_each_part_says_where_it_is_from_and_since_when(capsys: pytest.CaptureFixture[str]) -> None:
    status.show(Status(LEDGER, {"otp": 4, "fleet": 1}), NOW)
    shown = capsys.readouterr().out
    assert "ledger: in Redis, since 2026-01-02 12:00 UTC\n" in shown
    assert "open dead letters: fleet 1, otp 4, in PostgreSQL\n" in shown
    status.show(Status("…", "…"), NOW)
    assert capsys.readouterr().out.split("\n") == [
        "ledger: not known, Redis is away",
        "open dead letters: not known, PostgreSQL is away",
        "",
    ]


EXPLAIN = "`callbox refused explain last --source otp` shows why; after a fix, `callbox refused replay --source otp`"
DO = "deploy a fix, or process it anyway by `callbox resume fleet`"


def test_what_needs_somebody_is_named_with_what_to_do() -> None:
    assert list(status.warnings(LEDGER, NOW)) == [
        "the inbox holds 1 more of fleet than the ledger has",
        "the inbox holds 2 fewer of otp than the ledger has",
        f"fleet is held: its parser failed, since 2026-01-01 12:00 UTC; {DO}",
        f"otp refused 12 requests that are kept: {EXPLAIN}",
        "workers on a-host: postgresql fsync is off",
        "ingresses on b-host: spool cannot be made",
    ]


def test_after_a_day_a_source_that_workers_do_not_know_asks_for_a_decision() -> None:
    def sentence(hours: float) -> str:
        hold = Hold("workers do not know it", (NOW - timedelta(hours=hours)).timestamp(), unconfigured=True)
        (found,) = status.warnings(Ledger(Snapshot(Depth(0, 0.0), {}, {}, {}, {"new": hold}), {}, {}), NOW)
        return found

    assert "decide" not in sentence(23)
    assert "; decide now: add it to the workers' callbox.toml, or have dead letters by" in sentence(25)
