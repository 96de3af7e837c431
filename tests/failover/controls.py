"""What the count shows when replicas are not waited for: the same load and one failure, and something is lost."""

from pathlib import Path
from typing import NamedTuple

from tests.failover.faults import FAILED_OVER, UNREAD
from tests.failover.measured import LOST, Measured
from tests.failover.run import SAY, Say, Wanted, run
from tests.failover.sentinel import REPLICAS


class Controls(NamedTuple):
    """What they showed."""

    paragraphs: str  # of docs/failover.md
    is_noticed: bool  # whether something was lost that the wait for replicas would have kept


async def controls(wanted: Wanted, folder: Path, say: Say = SAY) -> Controls:
    """Does them, with Sentinels."""

    async def one(fault: str, replicas: int, is_broken: bool = False) -> Measured:
        only = wanted._replace(
            runs=1, each=0, topologies=("sentinel",), only=(fault,), wait_replicas=replicas, is_broken=is_broken
        )
        (measured,) = await run(only, folder / f"{len(list(folder.glob('*')))}", say)
        return measured

    folder.mkdir(parents=True, exist_ok=True)
    waiting, broken, without = await one(UNREAD, 1), await one(UNREAD, 1, is_broken=True), await one(UNREAD, 0)
    by_hand = await one(FAILED_OVER, REPLICAS), await one(FAILED_OVER, REPLICAS - 1)
    paragraphs = _PARAGRAPHS.format(
        fault=UNREAD,
        waiting=_lost(waiting),
        broken=_lost(broken),
        without=_lost(without),
        named=without.named,
        status="\n".join(f"    {line}" for line in without.status.splitlines() if "lost" in line),
        all_replicas=_lost(by_hand[0]),
        but_one=_lost(by_hand[1]),
    )
    return Controls(paragraphs, bool(broken.verdict.get(LOST) and without.verdict.get(LOST)))


def _lost(measured: Measured) -> str:
    return f"{len(measured.verdict.get(LOST, ()))} of {measured.accepted}"


_PARAGRAPHS = """## What waiting for replicas is for

With Sentinels, *{fault}*: {waiting} acknowledged callbacks are lost. The same with ingresses that take
any answer of `WAITAOF` for a confirmation: {broken}. With `CALLBOX_REDIS_WAIT_REPLICAS=0`: {without}; `callbox status`
names {named} that Redis lost, whether workers had stored them or not, and reports:

{status}

An operator may have the Sentinels demote a primary that is well. They promote a replica first, and have the old primary
and the other replica follow it about a second later; what those two have taken by then is thrown away. With
`SENTINEL FAILOVER … COORDINATED` (Valkey 9) the old primary takes no writes in that second. With the plain
`SENTINEL FAILOVER`, `CALLBOX_REDIS_WAIT_REPLICAS` must be the number of replicas: 2 of 2 lose {all_replicas}
acknowledged callbacks, 1 of 2 loses {but_one}, while no worker runs."""
