"""`callbox conflicts`: events that came again with another content."""

from datetime import datetime

import click

from deploy.commands.options import configured_system_options, json_option, limit_option, since_option, source_option
from deploy.commands.rows import write_rows
from deploy.system import System
from workers import repeats

COLUMNS = ("received_at", "source", "message_id", "callback_id", "stored_by")


@click.command()
@source_option
@since_option
@limit_option
@json_option
@configured_system_options
def conflicts(source: str | None, since: datetime | None, limit: int, json_wanted: bool, system: System) -> None:
    """List events that came again with another content, the newest first; `show` has the content of each."""
    sources = system.readers()
    with system.queries() as queries:
        found = repeats.conflicts(queries, sources, limit, source, since)
    write_rows(found, COLUMNS, json_wanted, "no conflicts")
