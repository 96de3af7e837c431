"""`callbox dead-letters`: what could not be understood, listed, shown, replayed after a fix, or discarded."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

import click

from deploy.commands.errors import Failed
from deploy.commands.options import (
    Command,
    WholeNumber,
    configured_system_options,
    gathered,
    json_option,
    limit_option,
    reason_option,
    reveal_option,
    since_option,
    source_option,
    system_options,
    until_option,
)
from deploy.commands.replayed import Replayed, show_counts
from deploy.commands.rows import write_rows
from deploy.commands.show import write_callback
from deploy.output import progress, write
from deploy.system import System
from deploy.text import as_json
from shared.errors import Unavailable
from shared.inbox import Reclassifier, RedisUnavailable
from workers import dead_letters as selected
from workers.database import Database
from workers.dead_letters import Filter
from workers.replay import Change, Replayer
from workers.reporter import report_dead_letters

RATE = 100.0  # callbacks replayed in a second, so that the drain keeps PostgreSQL to itself
COLUMNS = ("id", "created_at", "source", "stage", "reason", "detail", "state", "callback_id")

_LARGEST_ID = 2**63 - 1
_SEE_LIST = "see `callbox dead-letters list --state all`"


def _filter(source: str | None, reason: str | None, since: datetime | None, until: datetime | None) -> Filter:
    return Filter(None, source, reason, since, until)


def _selection(wanted: Filter, ids: tuple[int, ...], everything: bool) -> Filter:
    """The filter with the ids. Refuses one that selects everything, unless that is what was asked for."""
    selection = wanted._replace(ids=ids or None)
    if selection == Filter() and not everything:
        raise click.UsageError("choose some: IDs of the list, --source, --reason, --since, --until, or --all")
    return selection


filter_options = gathered("wanted", _filter, source_option, reason_option, since_option, until_option)
_id_options = gathered(
    "wanted",
    _selection,
    click.argument("ids", metavar="[ID]...", nargs=-1, type=WholeNumber(1, _LARGEST_ID)),
    click.option("--all", "everything", is_flag=True, help="All that are open."),
)


def selection_options(command: Command) -> Command:
    """Which open dead letters: the command gets a `wanted` that was chosen on purpose."""
    return filter_options(_id_options(command))


dry_option = click.option("--dry", is_flag=True, help="Change nothing, but show what would become of them.")


@click.group("dead-letters")
def dead_letters() -> None:
    """What could not be understood: list it, replay it after a fix, or discard it.

    The raw bytes are kept in `callbacks`.
    """


@dead_letters.command("list")
@filter_options
@click.option("--state", default="open", show_default=True, type=click.Choice(["open", "replayed", "discarded", "all"]))
@limit_option
@json_option
@system_options
def list_dead_letters(wanted: Filter, state: str, limit: int, json_wanted: bool, system: System) -> None:
    """List dead letters, the newest first."""
    with system.queries() as queries:
        found = queries.dead_letters(wanted, state=None if state == "all" else state, limit=limit)
    write_rows(found, COLUMNS, json_wanted, "no dead letters" if state == "all" else f"no {state} dead letters")


@dead_letters.command("show")
@click.argument("dead_letter_id", metavar="ID", type=WholeNumber(1, _LARGEST_ID))
@reveal_option
@json_option
@system_options
def show_dead_letter(dead_letter_id: int, reveal: bool, json_wanted: bool, system: System) -> None:
    """Show a dead letter with its raw callback. ID is the number in the list."""
    with system.queries() as queries:
        rows = queries.dead_letters(Filter(ids=[dead_letter_id]))
        found = queries.callback(rows[0].callback_id) if rows else None
    if not rows:
        raise Failed(f"there is no dead letter {dead_letter_id}: {_SEE_LIST}")
    if found is None:
        raise Failed(f"the raw callback of dead letter {dead_letter_id} is gone: nothing can be shown of it")
    write_callback(found, reveal, json_wanted)


@dead_letters.command()
@selection_options
@dry_option
@click.option(
    "--rate",
    default=RATE,
    show_default=True,
    metavar="N",
    type=click.FloatRange(0, min_open=True),
    help="At most N callbacks a second.",
)
@json_option
@configured_system_options
def replay(wanted: Filter, dry: bool, rate: float, json_wanted: bool, system: System) -> None:
    """Replay open dead letters after a fix.

    Those to which all that is given applies. A callback is parsed once more as a whole, with all its open dead letters:
    what is understood now is stored as if it had just arrived, what is not stays open. Try it with --dry first.
    Replaying again does no harm, and finishes what an interrupted replay left.
    """
    sources = system.configuration().sources
    with system.database() as database, system.inbox() as found:
        replayed = Replayed(dry, closed_of(database, wanted))
        replayer = Replayer(database, Reclassifier(found.shards), sources, rate, dry)
        count = selected.count_callbacks(database, wanted)
        with progress("replaying", count, hidden=json_wanted) as advance:

            def note(changes: Sequence[Change]) -> None:
                replayed.add(changes)
                advance()

            error = _run(replayer, wanted, note)
        with suppress(RedisUnavailable):
            report_dead_letters(found, database)
    if json_wanted:
        write(*as_json(replayed.document()))
    else:
        replayed.show(is_whole=error is None)
    if error:
        raise error


def _run(replayer: Replayer, wanted: Filter, note: Callable[[Sequence[Change]], None]) -> Exception | None:
    """Why the replay ended early; None when it did not. What it did until then is reported in any case."""
    try:
        replayer.run(wanted, note)
    except KeyboardInterrupt:
        return Failed("interrupted: what is listed is done, the rest is as it was")
    except Unavailable as error:
        return error
    return None


@dead_letters.command()
@selection_options
@dry_option
@system_options
def discard(wanted: Filter, dry: bool, system: System) -> None:
    """Discard open dead letters that need no replay.

    Those to which all that is given applies. Their raw callbacks stay in `callbacks`, as they are.
    """
    with system.database() as database:
        closed = closed_of(database, wanted)
        counts = selected.discard(database, wanted, dry)
        with suppress(RedisUnavailable), system.inbox() as found:
            report_dead_letters(found, database)
    rows = [(count, reason) for reason, count in sorted(counts.items())]
    show_counts(("dead letters", "reason"), rows, closed, "dry run, nothing was discarded" if dry else "discarded")


def closed_of(database: Database, wanted: Filter) -> dict[int, str]:
    """Those of the given ids that are not open, with their state. Raises Failed for ids that do not exist."""
    ids = wanted.ids or ()
    states = selected.states(database, ids)
    if missing := [str(id) for id in ids if id not in states]:
        raise Failed(f"there is no dead letter {', '.join(missing)}: {_SEE_LIST}")
    return {id: state for id, state in states.items() if state != "open"}
