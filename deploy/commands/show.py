"""`callbox show`: one callback, and what it repeats."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import click

from deploy.commands.errors import Failed
from deploy.commands.options import configured_system_options, json_option, reveal_option
from deploy.output import write, write_table
from deploy.privacy import private, shown
from deploy.system import System
from deploy.table import table
from deploy.text import as_json, as_text
from shared.config import ConfigError
from shared.outcomes import Outcome
from workers.queries import CallbackRow, CallbackView, Queries
from workers.repeats import Difference, Repeat, repeats

HEADINGS = ("field", "as it is stored", "as it came again")
NOT_SHOWN = "not shown"  # a text, without --reveal


@click.command()
@click.argument("callback_id", metavar="ID", type=click.UUID)
@reveal_option
@json_option
@configured_system_options
def show(callback_id: UUID, reveal: bool, json_wanted: bool, system: System) -> None:
    """Show one callback: raw, its outcome, and its events. ID is the X-Callbox-Id of its acknowledgement.

    A duplicate names the callback that it repeats; a conflict shows each field that differs. `find` takes the first 8
    characters of an id.
    """
    with system.queries() as queries:
        found = queries.callback(callback_id)
        if found is None:
            raise Failed(
                f"{callback_id} is not in PostgreSQL: it waits in the inbox (`callbox status`), or was never accepted"
            )
        repeated = _read_repeats(queries, found.callback, system)
    if json_wanted:
        known = [] if isinstance(repeated, str) else [_repeat(repeat, reveal) for repeat in repeated]
        write(*as_json({**_view(found, reveal), "repeats": known}))
        return
    write_callback(found, reveal, json_wanted=False)
    if isinstance(repeated, str):
        write("", f"what it repeats is not known: {repeated}")
    else:
        _write_repeats(repeated, reveal)


def write_callback(found: CallbackView, reveal: bool, json_wanted: bool) -> None:
    write(*(as_json(_view(found, reveal)) if json_wanted else as_text(found, reveal)))


def _view(found: CallbackView, reveal: bool) -> dict[str, Any]:
    """All of it for programs. A trace context is that of a callback on its way: no row has one."""
    view: dict[str, Any] = shown(found, reveal)
    del view["callback"]["traceparent"]
    return view


def _read_repeats(queries: Queries, callback: CallbackRow, system: System) -> list[Repeat] | str:
    """What the callback repeats; a sentence when that cannot be found out."""
    if callback.outcome is not Outcome.DUPLICATE and not callback.conflict:
        return []
    try:
        found = list(repeats(queries, callback, system.readers()))
    except ConfigError as error:
        return error.mistakes[0]
    return found or f"{callback.source} is not in the configuration, or its events are no longer stored"


def _write_repeats(repeated: Sequence[Repeat], reveal: bool) -> None:
    for repeat in repeated:
        write(
            "", f"repeats message {repeat.message_id}, which {repeat.stored_by} brought at {repeat.stored_at:%F %T} UTC"
        )
        if repeat.differences:
            rows = [(each.field, *_values(each, reveal)) for each in repeat.differences]
            write_table(table(HEADINGS, rows))


def _values(difference: Difference, reveal: bool) -> tuple[object, object]:
    return _value(difference.field, difference.stored, reveal), _value(difference.field, difference.repeated, reveal)


def _value(field: str, value: object, reveal: bool) -> object:
    """A text that is not shown is not taken for one that is missing."""
    known = private(field, value, reveal)
    return NOT_SHOWN if known is None and value is not None else known


def _repeat(repeat: Repeat, reveal: bool) -> dict[str, object]:
    differences = [Difference(each.field, *_values(each, reveal)) for each in repeat.differences]
    return repeat._replace(differences=differences)._asdict()
