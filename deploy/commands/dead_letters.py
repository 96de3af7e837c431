"""`callbox dead-letters`: what could not be understood, looked at, replayed after a fix, or discarded."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any

import click
import psycopg

from deploy.commands.options import (
    CONFIG,
    DATA,
    JSON,
    LIMIT,
    LONG_RUN,
    SINCE,
    UNTIL,
    Failed,
    environment,
    load,
    say_rows,
    speaks_plainly,
    utc,
)
from deploy.output import progress, say
from deploy.text import as_json, as_text, table
from shared import config, inbox
from shared.errors import Unavailable
from shared.settings import Settings
from workers import dead_letters as letters
from workers.database import Database
from workers.dead_letters import Filter
from workers.queries import Queries
from workers.replay import Change, Replayer

RATE = 100.0  # callbacks replayed in a second, so that the drain keeps PostgreSQL to itself

_LARGEST = 2**63 - 1  # id of PostgreSQL


def _selection(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which open dead letters; the command gets them as `wanted`."""

    @wraps(command)
    def wrapped(
        ids: tuple[int, ...],
        source: str | None,
        reason: str | None,
        since: datetime | None,
        until: datetime | None,
        everything: bool,
        **options: Any,
    ) -> None:
        if not (ids or source or reason or since or until or everything):
            raise click.UsageError("say which: IDs of the list, --source, --reason, --since, --until, or --all")
        command(wanted=Filter(ids or None, source, reason, utc(since), utc(until)), **options)

    for option in (
        click.option("--all", "everything", is_flag=True, help="All that are open."),
        UNTIL,
        SINCE,
        click.option("--reason", metavar="TEXT", help="As the list says it."),
        click.option("--source", metavar="NAME"),
        click.argument("ids", metavar="[ID]...", nargs=-1, type=click.IntRange(1, _LARGEST)),
    ):
        wrapped = option(wrapped)
    return wrapped


DRY = click.option("--dry", is_flag=True, help="Do nothing, but say what would become of them.")


@click.group()
def dead_letters() -> None:
    """What could not be understood: look at it, replay it after a fix, or discard it.

    Its raw bytes stand in `callbacks`.
    """


@dead_letters.command("list")
@click.option("--source", metavar="NAME")
@click.option("--reason", metavar="TEXT")
@SINCE
@UNTIL
@click.option("--state", default="open", show_default=True, type=click.Choice(["open", "replayed", "discarded", "all"]))
@LIMIT
@JSON
@DATA
@speaks_plainly
def list_letters(
    source: str | None,
    reason: str | None,
    since: datetime | None,
    until: datetime | None,
    state: str,
    limit: int,
    json_wanted: bool,
    folder: Path,
) -> None:
    """List dead letters, the newest first."""
    with Queries(config.load_settings(environment(folder)).database_url) as queries:
        found = queries.dead_letters(
            source=source,
            reason=reason,
            since=utc(since),
            until=utc(until),
            state=None if state == "all" else state,
            limit=limit,
        )
    columns = ("id", "created_at", "source", "stage", "reason", "detail", "state", "callback_id")
    say_rows(found, columns, json_wanted, "no dead letters" if state == "all" else f"no {state} dead letters")


@dead_letters.command("show")
@click.argument("letter_id", metavar="ID", type=int)
@JSON
@DATA
@speaks_plainly
def show_letter(letter_id: int, json_wanted: bool, folder: Path) -> None:
    """Show a dead letter with its raw callback. ID is the number in the list."""
    with Queries(config.load_settings(environment(folder)).database_url) as queries:
        rows = queries.dead_letters(ids=[letter_id], limit=1)
        found = queries.callback(rows[0].callback_id) if rows else None
    if found is None:
        raise Failed(f"there is no dead letter {letter_id}: see `callbox dead-letters list --state all`")
    say(*(as_json(found._asdict()) if json_wanted else as_text(found)))


@dead_letters.command()
@_selection
@DRY
@click.option(
    "--rate",
    default=RATE,
    show_default=True,
    metavar="N",
    type=click.FloatRange(0, min_open=True),
    help="At most so many callbacks in a second.",
)
@JSON
@CONFIG
@DATA
@speaks_plainly
def replay(wanted: Filter, dry: bool, rate: float, json_wanted: bool, config_path: Path | None, folder: Path) -> None:
    """Replay open dead letters after a fix.

    Those to which all that is given applies. A callback is parsed once more as a whole, with all its open letters: what
    is understood now is stored as if it had just arrived, what is not stays open. Try it with --dry first. Replaying
    again does no harm, and finishes what an interrupted replay left.
    """
    loaded = load(config_path, environment(folder))
    changes: Counter[Change] = Counter()
    callbacks = 0
    with (
        _opened(loaded.settings) as database,
        inbox.connect(loaded.settings.redis_url, 5.0) as client,
    ):
        closed = _closed(database, wanted)
        count = letters.count_callbacks(database, wanted)
        hidden = json_wanted or count < LONG_RUN
        with progress("replaying", count, hidden) as advance:

            def tell(its: Sequence[Change]) -> None:
                nonlocal callbacks
                callbacks += bool(its)
                changes.update(its)
                advance()

            try:
                Replayer(database, inbox.Reclassifier(client), loaded.sources, rate, dry).run(wanted, tell)
                trouble: BaseException | None = None
            except (KeyboardInterrupt, Unavailable) as error:
                trouble = error
    rows = [(number, *change) for change, number in sorted(changes.items())]
    if json_wanted:
        listed = [{"reason": reason, "became": became, "letters": number} for number, reason, became in rows]
        say(*as_json({"dry": dry, "callbacks": callbacks, "letters": listed, "closed": closed}))
    else:
        _report(("dead letters", "reason", "became"), rows, closed, None if trouble else _replayed(callbacks, dry))
    if isinstance(trouble, KeyboardInterrupt):
        raise Failed("interrupted: what is listed is done, the rest is as it was")
    if trouble:
        raise trouble


@dead_letters.command()
@_selection
@DRY
@DATA
@speaks_plainly
def discard(wanted: Filter, dry: bool, folder: Path) -> None:
    """Discard open dead letters that nobody wants replayed.

    Those to which all that is given applies. Their raw callbacks stay in `callbacks`, as they are.
    """
    with _opened(config.load_settings(environment(folder))) as database:
        closed = _closed(database, wanted)
        counts = letters.discard(database, wanted, dry)
    rows = [(number, reason) for reason, number in sorted(counts.items())]
    _report(("dead letters", "reason"), rows, closed, "nothing was done: it was dry" if dry else "discarded")


@contextmanager
def _opened(settings: Settings) -> Iterator[Database]:
    with psycopg.connect(settings.database_url, connect_timeout=5):
        pass  # says plainly why it cannot be reached
    database = Database(settings.database_url, settings.statement_seconds)
    try:
        yield database
    finally:
        database.close()


def _closed(database: Database, wanted: Filter) -> dict[int, str]:
    """Those of the given ids that are open no more, with their state. Raises Failed for ids that are none."""
    states = letters.states(database, wanted.ids or ())
    if wrong := [str(id) for id in wanted.ids or () if id not in states]:
        raise Failed(f"there is no dead letter {', '.join(wrong)}: see `callbox dead-letters list --state all`")
    return {id: state for id, state in states.items() if state != "open"}


def _report(
    headings: Sequence[str], rows: Sequence[Sequence[object]], closed: dict[int, str], done: str | None
) -> None:
    for id, state in sorted(closed.items()):
        say(f"{id} is {state} already")
    if rows:
        say(*table(headings, rows, numbers=frozenset({0})))
    if done:
        say(done if rows else "no open dead letters match")


def _replayed(callbacks: int, dry: bool) -> str:
    its = f"{callbacks} callback{'' if callbacks == 1 else 's'}"
    return f"nothing was done: it was dry. {its} would be replayed" if dry else f"{its} replayed"
