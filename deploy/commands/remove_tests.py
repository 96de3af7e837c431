"""`callbox remove-tests`: the end of what `callbox send` stored."""

import click

from deploy.commands.options import source_option, system_options
from deploy.output import write, write_table
from deploy.system import System
from deploy.table import table
from workers import remove_tests as tests


@click.command("remove-tests")
@source_option
@click.option("--dry", is_flag=True, help="Change nothing, but show what would go.")
@system_options
def remove_tests(source: str | None, dry: bool, system: System) -> None:
    """Remove what `callbox send` stored: every row that is marked as a test.

    The ledger keeps its counts, for it counts what was accepted.
    """
    with system.database() as database:
        removed = tests.remove(database, source, dry)
    if removed:
        write_table(table(("rows", "table"), [(count, name) for name, count in removed.items()]))
        write("dry run, nothing was removed" if dry else "removed")
    else:
        write("there are no tests")
