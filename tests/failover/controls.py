"""What the count shows when replicas are not waited for: the same load and one failure, and something is lost."""

from collections.abc import Callable
from pathlib import Path

from tests.failover.faults import UNREAD
from tests.failover.measured import LOST, Measured
from tests.failover.run import Wanted, run

Say = Callable[[str], None]


async def controls(wanted: Wanted, folder: Path, say: Say = print) -> str:
    """Does them; the paragraph about them in docs/failover.md."""
    one = wanted._replace(runs=1, topologies=("sentinel",), only=(UNREAD,))
    (with_wait,) = await run(one, folder / "wait", say)
    (broken,) = await run(one._replace(is_broken=True), folder / "broken", say)
    (without,) = await run(one._replace(wait_replicas=0), folder / "without", say)
    return _PARAGRAPH.format(
        fault=with_wait.name,
        kept=_lost(with_wait),
        broken=_lost(broken),
        without=_lost(without),
        status="\n".join(f"    {line}" for line in without.status.splitlines()),
    )


def _lost(measured: Measured) -> str:
    return f"{len(measured.verdict.get(LOST, ()))} of {measured.accepted}"


_PARAGRAPH = """## Without waiting for replicas

With Sentinels, *{fault}*: {kept} acknowledged callbacks are lost. The same with an ingress that takes any answer of
`WAITAOF` for a confirmation: {broken}. With `CALLBOX_REDIS_WAIT_REPLICAS=0`: {without}, and `callbox status` says then:

{status}"""
