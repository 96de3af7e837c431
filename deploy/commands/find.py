"""`callbox find`: where a message, a number or a callback is."""

from collections.abc import Sequence

import click
import msgspec

from deploy.commands.errors import Failed
from deploy.commands.options import json_option, limit_option, reveal_option, system_options
from deploy.output import write, write_table
from deploy.privacy import HIDDEN, shown
from deploy.system import System
from deploy.table import table
from deploy.text import as_json
from workers import find as finder

COLUMNS = {
    "callbacks": ("id", "received_at", "source", "outcome", "conflict"),
    "messages": ("received_at", "source", "message_id", "sender", "recipient", "text", "traffic", "callback_id"),
    "deliveries": ("updated_at", "source", "message_id", "recipient", "status", "final", "error_code", "reports"),
    "reports": ("received_at", "source", "message_id", "status", "error_code", "reason", "callback_id"),
    "dead_letters": ("id", "created_at", "source", "stage", "reason", "state", "callback_id"),
}
TITLES = {
    "callbacks": "callbacks, see `callbox show ID`",
    "messages": "inbound messages",
    "deliveries": "sent messages, and their present state",
    "reports": "delivery reports",
    "dead_letters": "dead letters, see `callbox dead-letters show ID`",
}


@click.command()
@click.argument("text", metavar="TEXT")
@limit_option
@reveal_option
@json_option
@system_options
def find(text: str, limit: int, reveal: bool, json_wanted: bool, system: System) -> None:
    """Find callbacks, messages, deliveries and dead letters, the newest first.

    TEXT is a phone number, a sender's name, a message id, a callback id (X-Callbox-Id) or its first 8 characters. It is
    looked up as all that it may be.

    A number may have blanks, dashes and brackets. With its country code, after + or 00, it is that number. Any other is
    compared by its end, without a leading 0: 0171 1234567 also finds numbers of other countries that end so, and the
    last digits of a number are enough.
    """
    if not text.strip():
        raise click.BadParameter("it is empty: give a number, a message id or a callback id", param_hint="TEXT")
    with system.queries() as queries:
        found = finder.find(queries, text, limit)
    if not any(found):
        raise Failed(
            "nothing in PostgreSQL has this number or id: what was just accepted may wait in the inbox"
            " (`callbox status`), and a callback that was not understood is found by its id only"
        )
    if json_wanted:
        write(*as_json(shown(found, reveal)))
        return
    for name, rows in found._asdict().items():
        if rows:
            _write(name, rows, limit, reveal)
    if not reveal:
        write(HIDDEN)


def _write(name: str, rows: Sequence[msgspec.Struct], limit: int, reveal: bool) -> None:
    columns = [column for column in COLUMNS[name] if reveal or column != "text"]
    cut = f" (the newest {limit}, more with --limit)" if len(rows) == limit else ""
    write(f"{TITLES[name]}{cut}")
    headings = [column.replace("_", " ") for column in columns]
    write_table(table(headings, [[values[column] for column in columns] for values in shown(list(rows), reveal)]))
    write("")
