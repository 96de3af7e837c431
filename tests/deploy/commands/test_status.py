"""What `callbox status` makes of a snapshot."""

import io
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.commands import status
from deploy.commands.status import Status
from shared.inbox import Depth, Hold, Snapshot

SNAPSHOT = Snapshot(
    depth=Depth(entries=4, oldest_seconds=1.23456),
    ledger={
        "fleet": {"appended": 10, "repeat": 1, "stored": 4, "duplicate": 1, "dead": 1, "ignored": 0},
        "otp": {"appended": 2, "repeat": 0, "stored": 2, "duplicate": 0, "dead": 0, "ignored": 0},
    },
    oddities={"otp": {"late": 2, "conflict": 1}, "fleet": {"[red]": 3}},
    spooled={"otp": 5},
    holds={"fleet": Hold("its parser failed", 0.0)},
)


def rows(made: Table) -> list[list[str]]:
    """The words of each line, without the rule."""
    output = io.StringIO()
    Console(file=output, width=1000, highlight=False).print(made)
    heading, _, *lines = output.getvalue().splitlines()
    return [line.split() for line in (heading, *lines)]


def test_the_ledger_has_a_line_for_each_source_and_one_for_all_that_adds_up() -> None:
    _, fleet, otp, total = rows(status.ledger(SNAPSHOT))
    assert fleet == ["fleet", "9", "4", "1", "1", "0", "3", "0", "–"]
    assert otp == ["otp", "7", "2", "0", "0", "0", "0", "5", "–"]
    assert total == ["all", "16", "6", "1", "1", "0", "3", "5", "1.235"]


def test_an_empty_inbox_has_a_ledger_too() -> None:
    empty = Snapshot(Depth(0, 0.0), {}, {}, {})
    assert rows(status.ledger(empty))[1:] == [["all", *"0000000", "0.0"]]
    assert list(status.warnings(Status(empty, {}))) == []


def test_oddities_are_sorted_by_source_and_name() -> None:
    assert rows(status.oddities(SNAPSHOT))[1:] == [
        ["fleet", "[red]", "3"],
        ["otp", "conflict", "1"],
        ["otp", "late", "2"],
    ]


def test_the_document_has_everything_for_programs() -> None:
    found: dict[str, Any] = status.document(SNAPSHOT)
    assert (found["accepted"], found["pending"], found["difference"]) == (16, 3, 1)
    assert found["held"] == {"fleet": "its parser failed"}
    assert found["sources"]["otp"]["oddities"] == {"late": 2, "conflict": 1}
    assert found["sources"]["otp"]["spooled"] == 5


def test_a_difference_and_a_hold_are_named_with_what_to_do() -> None:
    assert list(status.warnings(Status(SNAPSHOT, {"fleet": 1, "otp": -2}))) == [
        "the inbox holds 1 more of fleet than the ledger says",
        "the inbox holds 2 less of otp than the ledger says",
        "fleet is held: its parser failed. Deploy a fix, or `callbox resume fleet` to process it anyway",
    ]
