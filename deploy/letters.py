"""`callbox dead-letters`: what could not be understood, looked at."""

from datetime import datetime
from pathlib import Path

import click

from deploy import look
from deploy.command import DATA, JSON, LIMIT, SINCE, Failed, environment, say, say_rows, speaks_plainly, utc
from deploy.text import as_json, as_text
from shared import config


@click.group()
def dead_letters() -> None:
    """Look at what could not be understood. Its raw bytes stand in `callbacks`."""


@dead_letters.command("list")
@click.option("--source", metavar="NAME")
@click.option("--reason", metavar="TEXT")
@SINCE
@click.option("--state", default="open", show_default=True, type=click.Choice(["open", "replayed", "discarded", "all"]))
@LIMIT
@JSON
@DATA
@speaks_plainly
def list_letters(
    source: str | None,
    reason: str | None,
    since: datetime | None,
    state: str,
    limit: int,
    json_wanted: bool,
    folder: Path,
) -> None:
    """List dead letters, the newest first."""
    with look.Database(config.load_settings(environment(folder)).database_url) as database:
        letters = database.letters(
            source=source,
            reason=reason,
            since=utc(since),
            state=None if state == "all" else state,
            limit=limit,
        )
    columns = ("id", "created_at", "source", "stage", "reason", "detail", "state", "callback_id")
    say_rows(letters, columns, json_wanted, "no dead letters" if state == "all" else f"no {state} dead letters")


@dead_letters.command("show")
@click.argument("letter_id", metavar="ID", type=int)
@JSON
@DATA
@speaks_plainly
def show_letter(letter_id: int, json_wanted: bool, folder: Path) -> None:
    """Show a dead letter with its raw callback. ID is the number in the list."""
    with look.Database(config.load_settings(environment(folder)).database_url) as database:
        letters = database.letters(id=letter_id)
        found = database.callback(letters[0]["callback_id"]) if letters else None
    if found is None:
        raise Failed(f"there is no dead letter {letter_id}: see `callbox dead-letters list --state all`")
    say(as_json(found._asdict()) if json_wanted else as_text(found))
