"""`callbox shards`: the shards of the inbox, and the end of one."""

import time
from datetime import UTC, datetime
from typing import NamedTuple

import click

from deploy.commands.errors import Failed
from deploy.commands.options import WholeNumber, json_option, system_options
from deploy.output import write, write_table
from deploy.system import System
from deploy.table import table
from deploy.text import as_json
from shared import inbox
from shared.inbox import Inbox, RedisUnavailable, Shard

HEADINGS = ("shard", "redis", "waiting", "oldest seconds", "state")
DRAIN_SECONDS = 60.0  # longest wait for a shard to be empty
POLL_SECONDS = 0.2


class Row(NamedTuple):
    """A shard: where it is, how many callbacks wait (None: not known), and whether it takes more."""

    shard: int
    redis: str
    waiting: int | None
    oldest_seconds: float | None
    state: str


@click.group(invoke_without_command=True)
@json_option
@system_options
@click.pass_context
def shards(context: click.Context, json_wanted: bool, system: System) -> None:
    """List the shards of the inbox.

    More of them: raise CALLBOX_INBOX_SHARDS for all processes, and restart them. Fewer: drain the last one first, as
    `callbox shards drain` describes.
    """
    if context.invoked_subcommand is not None:
        return
    with system.inbox() as found:
        rows = [_row(shard) for shard in found.shards]
    if json_wanted:
        write(*as_json([row._asdict() for row in rows]))
    else:
        write_table(table(HEADINGS, rows))
    if away := [f"shard {row.shard}: {row.state}" for row in rows if row.waiting is None]:
        raise Failed("; ".join(away))


@shards.command()
@click.argument("number", type=WholeNumber(min=1))
@system_options
def drain(number: int, system: System) -> None:
    """Have the last shard take no more callbacks, and wait until it is empty.

    What it counted goes to the ledger of the first one. Then lower CALLBOX_INBOX_SHARDS for all processes, and restart
    them. It may be interrupted and begun again.
    """
    with system.inbox() as found:
        shard = _last(found, number)
        inbox.retire(shard)
        ends_at = time.monotonic() + DRAIN_SECONDS
        while (waiting := _waiting(shard)) and time.monotonic() < ends_at:
            found.ring(datetime.now(UTC))
            time.sleep(POLL_SECONDS)
        if waiting:
            held = sorted(inbox.Holds(shard).read().held)
            why = f"{', '.join(held)} is held, see `callbox status`." if held else "do workers run?"
            raise Failed(f"{waiting} callbacks still wait in shard {number}: {why} Begin again later")
        inbox.fold(shard, found.first)
    write(f"shard {number} is empty: set CALLBOX_INBOX_SHARDS to {number} for all processes, and restart them")


@shards.command()
@click.argument("number", type=WholeNumber(min=1))
@system_options
def restore(number: int, system: System) -> None:
    """Have a shard take callbacks again that was drained."""
    with system.inbox() as found:
        if not inbox.restore(_last(found, number, of_any=True)):
            raise Failed(f"shard {number} takes callbacks already")
    write(f"shard {number} takes callbacks again")


def _last(found: Inbox, number: int, of_any: bool = False) -> Shard:
    """The shard of this number. Raises Failed unless there is one, and it is the last."""
    count = len(found.shards)
    if number >= count:
        raise Failed(f"there is no shard {number}: CALLBOX_INBOX_SHARDS is {count}")
    if number < count - 1 and not of_any:
        raise Failed(f"only the last shard can be removed, which is {count - 1}")
    return found.shards[number]


def _row(shard: Shard) -> Row:
    number, place = shard.names.number, shard.url.place
    try:
        depth = inbox.take_snapshot(shard).depth
        is_retired = inbox.is_retired(shard)
    except RedisUnavailable as error:
        return Row(number, place, None, None, str(error))
    state = "takes callbacks" if not is_retired else "retired" if depth.entries else "retired and empty"
    return Row(number, place, depth.entries, round(depth.oldest_seconds, 1), state)


def _waiting(shard: Shard) -> int:
    return inbox.take_snapshot(shard).depth.entries
