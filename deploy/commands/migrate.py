"""`callbox migrate`: the schema of the database."""

import click

from deploy.commands.options import system_options
from deploy.output import write, write_error
from deploy.system import System
from workers import schema


@click.command()
@click.option("--after", is_flag=True, help="Also the parts that wait until no process of the version before is left.")
@system_options
def migrate(after: bool, system: System) -> None:
    """Bring the database to this version's schema. Safe to repeat, and to interrupt."""
    applied = schema.migrate(
        system.settings.database_url, after, lambda: write_error("callbox: another migration runs: waiting for its end")
    )
    write(*(f"applied {name}" for name in applied))
    if not applied:
        write("nothing to do: the database is up to date")
