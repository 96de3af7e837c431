"""`callbox migrate`: the schema of the database."""

import click

from deploy.commands.options import system_options
from deploy.output import write
from deploy.system import System
from workers import schema


@click.command()
@system_options
def migrate(system: System) -> None:
    """Bring the database to this version's schema. Safe to repeat."""
    applied = schema.migrate(system.settings.database_url)
    write(*(f"applied {name}" for name in applied))
    if not applied:
        write("nothing to do: the database is up to date")
