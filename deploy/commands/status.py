"""`callbox status`: the ledger, and what is odd about it."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import click
from rich.table import Table

from deploy.commands.options import json_option, system_options
from deploy.output import write, write_table
from deploy.system import System
from deploy.table import table
from deploy.text import as_json
from shared import inbox
from shared.inbox import Snapshot

HEADINGS = ("source", *(field.replace("_", " ") for field in inbox.Account._fields))


class Status(NamedTuple):
    """The inbox at one moment, and by source how many callbacks more it holds than the ledger says."""

    snapshot: Snapshot
    differences: Mapping[str, int]


@click.command()
@json_option
@system_options
def status(json_wanted: bool, system: System) -> None:
    """Show the ledger: what was accepted, and what became of it.

    accepted = stored + duplicates + dead_letters + ignored + pending + spooled; a difference to what the inbox really
    holds is named, and so is every source that no worker drains.
    """
    with system.inbox() as client:
        found = read_status(client)
    if json_wanted:
        write(*as_json(document(found.snapshot)))
        return
    write_table(ledger(found.snapshot))
    if found.snapshot.oddities:
        write("")
        write_table(oddities(found.snapshot))
    write(*warnings(found))


def read_status(client: inbox.Client) -> Status:
    """Raises RedisUnavailable."""
    snapshot = inbox.take_snapshot(client)
    # Counting every entry takes time, and is needed only when something broke.
    different = inbox.differences(snapshot, inbox.waiting_by_source(client)) if snapshot.difference else {}
    return Status(snapshot, different)


def document(snapshot: Snapshot) -> dict[str, Any]:
    """All of it for programs."""
    total, sources = inbox.accounts(snapshot)
    return {
        **total._asdict(),
        "difference": snapshot.difference,
        "held": {source: hold.why for source, hold in snapshot.holds.items()},
        "sources": {
            name: {**account._asdict(), "oddities": snapshot.oddities.get(name, {})}
            for name, account in sources.items()
        },
    }


def ledger(snapshot: Snapshot) -> Table:
    """The account of each source, and of all."""
    total, sources = inbox.accounts(snapshot)
    return table(HEADINGS, [*((name, *account) for name, account in sources.items()), ("all", *total)])


def oddities(snapshot: Snapshot) -> Table:
    """What was odd about the callbacks of each source."""
    rows = [(name, *oddity) for name, counts in sorted(snapshot.oddities.items()) for oddity in sorted(counts.items())]
    return table(("source", "what was odd", "callbacks"), rows)


def warnings(found: Status) -> Iterator[str]:
    """What needs somebody: a ledger that does not add up, and sources that no worker drains."""
    for source, difference in found.differences.items():
        comparison = "more" if difference > 0 else "less"
        yield f"the inbox holds {abs(difference)} {comparison} of {source} than the ledger says"
    for source, hold in found.snapshot.holds.items():
        yield f"{source} is held: {hold.why}. Deploy a fix, or `callbox resume {source}` to process it anyway"
