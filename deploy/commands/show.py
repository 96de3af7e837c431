"""`callbox show`: one callback."""

from uuid import UUID

import click

from deploy.commands.errors import Failed
from deploy.commands.options import json_option, system_options
from deploy.output import write
from deploy.system import System
from deploy.text import as_json, as_text
from workers.queries import CallbackView


@click.command()
@click.argument("callback_id", metavar="ID", type=click.UUID)
@json_option
@system_options
def show(callback_id: UUID, json_wanted: bool, system: System) -> None:
    """Show one callback: raw, its outcome, and its events. ID is the X-Callbox-Id of its acknowledgement."""
    with system.queries() as queries:
        found = queries.callback(callback_id)
    if found is None:
        raise Failed(
            f"{callback_id} is not in PostgreSQL: it waits in the inbox (`callbox status`), or was never accepted"
        )
    write_callback(found, json_wanted)


def write_callback(found: CallbackView, json_wanted: bool) -> None:
    write(*(as_json(found._asdict()) if json_wanted else as_text(found)))
