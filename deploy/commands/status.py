"""`callbox status`: the ledger, the open dead letters, what is odd, and what is away."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import click
import msgspec
import psycopg
from rich.table import Table

from deploy.commands.errors import Failed, sentence
from deploy.commands.options import json_option, system_options
from deploy.output import write, write_table
from deploy.system import System
from deploy.table import table
from deploy.text import as_json
from shared import inbox
from shared.inbox import Process, RedisUnavailable, Snapshot

# Of the fields of an account: short ones, for a terminal of 80 columns.
HEADINGS = ("source", "accepted", "stored", "duplicates", "dead", "ignored", "pending", "spooled", "oldest s")
DECISION = timedelta(days=1)  # for so long callbacks of a source that workers do not know wait without a question


class Ledger(NamedTuple):
    """The inbox at one moment; by source how many callbacks more it holds than the ledger has, and the age of the
    oldest that waits."""

    snapshot: Snapshot
    differences: Mapping[str, int]
    oldest: Mapping[str, float]


class Status(NamedTuple):
    """What Redis and PostgreSQL report: a sentence in the place of either that is away. Dead letters are those that are
    open, by source."""

    ledger: Ledger | str
    dead_letters: Mapping[str, int] | str


@click.command()
@json_option
@system_options
def status(json_wanted: bool, system: System) -> None:
    """Show the ledger: what was accepted, and what became of it.

    accepted = stored + duplicates + dead_letters + ignored + pending + spooled; a difference to what the inbox really
    holds is named, and so is every source that no worker drains, and every server that does not answer.
    """
    found = read_status(system)
    if json_wanted:
        write(*as_json(document(found)))
    else:
        show(found, datetime.now(UTC))
    if away := [why for why in found if isinstance(why, str)]:
        raise Failed("; ".join(away))


def read_status(system: System) -> Status:
    """What can be had of it. Raises ConfigError."""
    return Status(_read_ledger(system), _read_dead_letters(system))


def _read_ledger(system: System) -> Ledger | str:
    try:
        with system.inbox() as found:
            snapshot = found.snapshot()
            waiting = [source for source, counts in snapshot.ledger.items() if inbox.pending_in(counts) > 0]
            # Counting every entry takes time, and is needed only when something broke.
            counted = found.waiting_by_source() if snapshot.difference else None
            different = inbox.differences(snapshot, counted) if counted is not None else {}
            return Ledger(snapshot, different, found.oldest_by_source(waiting))
    except RedisUnavailable as error:
        return sentence(error)


def _read_dead_letters(system: System) -> Mapping[str, int] | str:
    try:
        with system.queries() as queries:
            return queries.open_dead_letters()
    except psycopg.Error as error:
        return sentence(error)


def document(found: Status) -> dict[str, Any]:
    """All of it for programs; null is what a server that is away would know."""
    ledger, dead_letters = found
    away = {
        "redis": ledger if isinstance(ledger, str) else "ok",
        "postgresql": dead_letters if isinstance(dead_letters, str) else "ok",
        "open_dead_letters": None if isinstance(dead_letters, str) else sum(dead_letters.values()),
    }
    if isinstance(ledger, str):
        unknown = ("difference", "held", "ledger_since", "lost", "quarantine", "setback", "sources")
        return {**dict.fromkeys((*inbox.Account._fields, *unknown)), **away}
    snapshot = ledger.snapshot
    total, sources = inbox.accounts(snapshot, ledger.oldest)
    return {
        **total._asdict(),
        "difference": snapshot.difference,
        "held": {source: hold.why for source, hold in snapshot.holds.items()},
        "ledger_since": _since(snapshot),
        "lost": snapshot.notes.lost,
        "quarantine": snapshot.quarantine,
        "setback": msgspec.to_builtins(snapshot.notes.setback),
        **away,
        "sources": {
            name: {
                **account._asdict(),
                "oddities": snapshot.oddities.get(name, {}),
                "open_dead_letters": None if isinstance(dead_letters, str) else dead_letters.get(name, 0),
            }
            for name, account in sources.items()
        },
    }


def show(found: Status, now: datetime) -> None:
    """All of it for people."""
    if isinstance(found.ledger, str):
        write("ledger: not known, Redis is away")
    else:
        snapshot = found.ledger.snapshot
        since = _since(snapshot)
        write_table(ledger_table(found.ledger))
        write("", f"ledger: in Redis, since {since:%Y-%m-%d %H:%M} UTC" if since else "ledger: in Redis")
    write(dead_letters_line(found.dead_letters))
    if not isinstance(found.ledger, str):
        if found.ledger.snapshot.oddities:
            write("")
            write_table(oddities(found.ledger.snapshot))
        write(*warnings(found.ledger, now))


def ledger_table(ledger: Ledger) -> Table:
    """The account of each source, and of all."""
    total, sources = inbox.accounts(ledger.snapshot, ledger.oldest)
    return table(HEADINGS, [*((name, *account) for name, account in sources.items()), ("all", *total)])


def dead_letters_line(counts: Mapping[str, int] | str) -> str:
    """How many dead letters wait for somebody."""
    if isinstance(counts, str):
        return "open dead letters: not known, PostgreSQL is away"
    by_source = ", ".join(f"{source} {count}" for source, count in sorted(counts.items()))
    return f"open dead letters: {by_source or 'none'}, in PostgreSQL"


def oddities(snapshot: Snapshot) -> Table:
    """What was odd about the callbacks of each source."""
    rows = [(name, *oddity) for name, counts in sorted(snapshot.oddities.items()) for oddity in sorted(counts.items())]
    return table(("source", "what was odd", "callbacks"), rows)


def warnings(ledger: Ledger, now: datetime) -> Iterator[str]:
    """What needs somebody: a ledger that does not add up, sources that no worker drains, promises that cannot be
    kept."""
    for source, difference in ledger.differences.items():
        comparison = "more" if difference > 0 else "fewer"
        yield f"the inbox holds {abs(difference)} {comparison} of {source} than the ledger has"
    if lost := ledger.snapshot.notes.lost:
        yield (
            f"Redis lost {lost} callbacks that it had taken: those that workers had not stored before are gone;"
            " with replicas, CALLBOX_REDIS_WAIT_REPLICAS prevents it"
        )
    if setback := ledger.snapshot.notes.setback:
        has = f"of {setback.has:%Y-%m-%d %H:%M:%S} UTC" if setback.has else "none"
        yield (
            f"PostgreSQL went back, noticed {setback.noticed_at:%Y-%m-%d %H:%M} UTC: it had callbacks up to"
            f" {setback.had:%Y-%m-%d %H:%M:%S} UTC, and the latest that it had left was {has}; the ledger counts those"
            " between as stored: see docs/production.md"
        )
    for source, hold in ledger.snapshot.holds.items():
        since = datetime.fromtimestamp(hold.since, UTC)
        decide = "decide now: " if hold.unconfigured and now - since > DECISION else ""
        yield f"{source} is held: {hold.why}, since {since:%Y-%m-%d %H:%M} UTC; {decide}{hold.remedy(source)}"
    for source, counts in sorted(ledger.snapshot.quarantine.items()):
        yield (
            f"{source} refused {counts['requests']} requests that are kept: `callbox refused explain last --source"
            f" {source}` shows why; after a fix, `callbox refused replay --source {source}`"
        )
    yield from _differing(ledger.snapshot.processes)
    for who, reports in (("workers", ledger.snapshot.unmet), ("ingresses", ledger.snapshot.ingress_unmet)):
        for host, unmet in reports.items():
            for what, sentences in unmet.items():
                yield from (f"{who} on {host}: {what} {sentence}" for sentence in sentences)


def _differing(processes: Sequence[Process]) -> Iterator[str]:
    """What there is to report of processes that do not all have one configuration."""
    by_configuration: dict[str, list[str]] = {}
    for process in processes:
        by_configuration.setdefault(process.configuration, []).append(process.name)
        if process.has_refused:
            yield f"{process.name} has found a mistake in callbox.toml, and goes on with what it had: see its log"
    if len(by_configuration) > 1:
        groups = "; ".join(f"{name} is that of {', '.join(names)}" for name, names in by_configuration.items())
        yield f"not all processes have the same configuration: {groups}: send SIGHUP to each, or run `callbox reload`"


def _since(snapshot: Snapshot) -> datetime | None:
    since = snapshot.notes.since
    return None if since is None else datetime.fromtimestamp(since, UTC)
