"""`callbox resume`: the end of a hold."""

import click

from deploy.commands.errors import Failed
from deploy.commands.options import source_argument, system_options
from deploy.output import write
from deploy.system import System
from shared import inbox
from workers.drain.holds import this_release


@click.command()
@source_argument
@system_options
def resume(source_name: str, system: System) -> None:
    """Drain a held source again, whatever becomes of its callbacks with this release.

    `callbox status` shows which sources are held, and why. What cannot be understood becomes dead letters.
    """
    with system.inbox() as found:
        holds = [inbox.Holds(shard) for shard in found.shards]
        held = sorted({source for each in holds for source in each.read().held})
        if source_name not in held:
            others = f"only {', '.join(held)}" if held else "no source is"
            raise Failed(f"{source_name} is not held, {others}: see `callbox status`")
        for each in holds:
            each.waive(source_name, this_release())
            each.release(source_name)
    write(f"{source_name} is drained again")
