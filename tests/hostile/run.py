"""One run: every client in turn beside honest traffic, the fuzzer, the instances of their own, and the count."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.hostile import count
from tests.hostile.clients import CLIENTS
from tests.hostile.measure import Measure
from tests.hostile.report import Report
from tests.hostile.row import Row
from tests.hostile.system import System

BASELINE = 0.5  # of an attack's length, at least BASELINE_SECONDS
BASELINE_SECONDS = 3.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What is to be run."""

    seed: int
    requests: int  # of the fuzzer
    seconds: float  # of each client
    only: Sequence[str] = ()


async def run(folder: Path, wanted: Wanted, say: Say = print) -> Report:
    system = await asyncio.to_thread(lambda: System(folder / "clients").wait_ready())
    measure = Measure(system, wanted.seed)
    try:
        await measure.warm_up()
        rows = [await _row(measure, system, name, wanted, say) for name in CLIENTS if name in (wanted.only or CLIENTS)]
        found = await asyncio.to_thread(count.count, system, measure.ids)
    finally:
        measure.close()
        await asyncio.to_thread(system.stop)
    return Report(wanted.seed, wanted.seconds, rows, found)


async def _row(measure: Measure, system: System, name: str, wanted: Wanted, say: Say) -> Row:
    baseline_seconds = max(BASELINE_SECONDS, BASELINE * wanted.seconds)
    row = await measure.row([name], wanted.seconds, baseline_seconds)
    if row.misses() == row.slow() != []:  # other processes of this machine may have been the reason
        again = await measure.row([name], wanted.seconds, baseline_seconds)
        again.tries = 2
        row = again
    say(row.line())
    if any(after > before + 10_000_000 for before, _, after in row.memory.values()) or row.ended:
        await asyncio.to_thread(system.renew)
    return row
