"""What the count shows when replicas are not waited for: the same load and one failure, and something is lost."""

from collections.abc import Callable
from pathlib import Path

from tests.failover.faults import FAILED_OVER, UNREAD
from tests.failover.measured import LOST, Measured
from tests.failover.run import Wanted, run
from tests.failover.sentinel import REPLICAS

Say = Callable[[str], None]


async def controls(wanted: Wanted, folder: Path, say: Say = print) -> str:
    """Does them; the paragraph about them in docs/failover.md."""
    one = wanted._replace(runs=1, topologies=("sentinel",), only=(UNREAD,))
    (with_wait,) = await run(one, folder / "wait", say)
    (broken,) = await run(one._replace(is_broken=True), folder / "broken", say)
    (without,) = await run(one._replace(wait_replicas=0), folder / "without", say)
    plain = wanted._replace(runs=1, topologies=("sentinel",), only=(FAILED_OVER,))
    by_hand = [
        (await run(plain._replace(wait_replicas=replicas), folder / f"plain-{replicas}", say))[0]
        for replicas in (REPLICAS, REPLICAS - 1)
    ]
    return _PARAGRAPH.format(
        fault=with_wait.name,
        kept=_lost(with_wait),
        broken=_lost(broken),
        without=_lost(without),
        all_replicas=_lost(by_hand[0]),
        but_one=_lost(by_hand[1]),
        status="\n".join(f"    {line}" for line in without.status.splitlines()),
    )


def _lost(measured: Measured) -> str:
    return f"{len(measured.verdict.get(LOST, ()))} of {measured.accepted}"


_PARAGRAPH = """## Without waiting for replicas

With Sentinels, *{fault}*: {kept} acknowledged callbacks are lost. The same with an ingress that takes any answer of
`WAITAOF` for a confirmation: {broken}. With `CALLBOX_REDIS_WAIT_REPLICAS=0`: {without}, and `callbox status` says then:

{status}

An operator may have the Sentinels demote a primary that is well. They promote a replica first and have the old primary
and the other replica follow it about a second later; what those two have taken by then is thrown away. With
`SENTINEL FAILOVER … COORDINATED` (Valkey 9) the old primary takes no writes in that second. With the plain
`SENTINEL FAILOVER`, `CALLBOX_REDIS_WAIT_REPLICAS` must be the number of replicas: 2 of 2 lose {all_replicas}
acknowledged callbacks, 1 of 2 loses {but_one} (how many depends on how much the workers have not stored yet)."""
