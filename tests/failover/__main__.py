"""`make failover`: primaries fail over under load, and what arrived is counted. Writes docs/failover.md."""

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from tests.failover.controls import controls
from tests.failover.faults import FAULTS
from tests.failover.report import Report
from tests.failover.run import Wanted, run
from tests.failover.topology import TOPOLOGIES

T = TypeVar("T")

DOCUMENT = Path(__file__).parents[2] / "docs" / "failover.md"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make failover", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="repeats a run's choices")
    parser.add_argument("--runs", type=int, default=1, help="how often everything happens, each time in another order")
    parser.add_argument(
        "--each", type=int, default=0, metavar="N", help="failures of each topology in a run, until all had their turn"
    )
    parser.add_argument("--rate", type=float, default=1000.0, help="callbacks a second")
    parser.add_argument("--topology", choices=(*TOPOLOGIES, "all"), default="all", help="what fails over")
    parser.add_argument(
        "--only", action="append", default=[], metavar="WORD", help="failures whose name has this word; may be repeated"
    )
    parser.add_argument("--wait-replicas", type=int, default=1, metavar="N", help="replicas that must confirm; 0: none")
    parser.add_argument("--break-wait", action="store_true", help="take an answer of WAITAOF for a confirmation")
    parser.add_argument("--folder", type=Path, help="keep everything there, logs and all")
    parser.add_argument("--keep", action="store_true", help="do not write docs/failover.md")
    given = parser.parse_args()
    topologies = TOPOLOGIES if given.topology == "all" else (given.topology,)
    names = {name for topology in topologies for name in FAULTS[topology]}
    for word in given.only:
        if not any(word in name for name in names):
            parser.error(f"{word}: in the name of no failure; the names are: {'; '.join(sorted(names))}")
    print(f"seed {given.seed}", flush=True)
    wanted = Wanted(
        given.seed,
        given.runs,
        given.each,
        given.rate,
        topologies,
        given.only,
        given.wait_replicas,
        given.break_wait,
        keeps_folders=given.folder is not None,
    )
    with tempfile.TemporaryDirectory(prefix="callbox-failover-") as temporary:
        folder = given.folder or Path(temporary)
        report = Report(wanted, _finish(run(wanted, folder / "runs")))
        print(report.summary(), flush=True)
        is_plain = given.wait_replicas and not given.break_wait and not given.keep
        if is_plain:
            seen = _finish(controls(wanted, folder / "controls"))
            DOCUMENT.write_text(report.document(seen))
            print(f"wrote {DOCUMENT.relative_to(Path.cwd())}")
            if not seen.is_noticed:
                sys.exit("nothing was lost although no replica was waited for: the count notices nothing")
    sys.exit(0 if report.kept else 1)


def _finish(work: Coroutine[Any, Any, T]) -> T:
    """What it returns. SIGTERM, as Ctrl-C does, has it stop what it started, and ends this process."""

    async def stoppable() -> T:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return uvloop.run(stoppable())
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted")


if __name__ == "__main__":
    main()
