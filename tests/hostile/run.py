"""One run: every client in turn beside honest traffic, the fuzzer, the checks with a system of their own, the count."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

from tests.hostile import count, instances
from tests.hostile.clients import CLIENTS
from tests.hostile.fuzz import Found
from tests.hostile.instances import Check
from tests.hostile.measure import FUZZER, Measure
from tests.hostile.report import Report
from tests.hostile.row import Row
from tests.hostile.system import System

BASELINE = 0.5  # of an attack's length, at least BASELINE_SECONDS
BASELINE_SECONDS = 3.0
TRIES = 2  # for a row that misses nothing but the latency: other processes of the machine may have been the reason
NAMES = (*CLIENTS, FUZZER.name, *(check.__name__.replace("_", " ") for check in instances.CHECKS))

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What is to be run; everything unless `only` has names."""

    seed: int
    requests: int  # of the fuzzer
    seconds: float  # of each client
    only: Sequence[str] = field(default=())

    def wants(self, name: str) -> bool:
        return name in (self.only or NAMES)


async def run(folder: Path, wanted: Wanted, say: Say = print) -> Report:
    began = time.monotonic()
    rows, found, counted = await _beside_honest_traffic(folder / "clients", wanted, say)
    checks = await _of_their_own(folder / "own", wanted, say)
    return Report(wanted.seed, wanted.seconds, wanted.requests, rows, found, checks, counted, time.monotonic() - began)


async def _beside_honest_traffic(folder: Path, wanted: Wanted, say: Say) -> tuple[list[Row], Found | None, count.Count]:
    system = await asyncio.to_thread(System, folder)
    measure = None
    try:
        await asyncio.to_thread(system.wait_ready)
        measure = Measure(system, wanted.seed)
        await measure.warm_up()
        rows = [await _row(measure, system, name, wanted, say) for name in CLIENTS if wanted.wants(name)]
        found = None
        if wanted.requests and wanted.wants(FUZZER.name):
            row, found = await _fuzz(measure, wanted)
            say(row.line())
            rows.append(row)
        counted = await asyncio.to_thread(count.count, system, measure.ids, found.accepted if found else None)
    finally:
        if measure is not None:
            measure.close()
        await asyncio.to_thread(system.stop)
    return rows, found, counted


async def _row(measure: Measure, system: System, name: str, wanted: Wanted, say: Say) -> Row:
    for tries in range(1, TRIES + 1):
        row = await measure.clients([name], wanted.seconds, max(BASELINE_SECONDS, BASELINE * wanted.seconds))
        row.tries = tries
        if row.ended or row.keeps():
            await asyncio.to_thread(system.renew)
        if row.misses() != row.slow() or not row.slow():
            break
    say(row.line())
    return row


async def _fuzz(measure: Measure, wanted: Wanted) -> tuple[Row, Found]:
    folder = Path(mkdtemp(prefix="callbox-hostile-findings-"))
    row, found = await measure.fuzzer(range(wanted.requests), BASELINE_SECONDS, folder)
    if not found.findings:
        folder.rmdir()
    row.more += [f"{found.kinds.total()} findings"] if found.kinds else []
    return row, found


async def _of_their_own(folder: Path, wanted: Wanted, say: Say) -> list[Check]:
    checks = [check for check in instances.CHECKS if wanted.wants(check.__name__.replace("_", " "))]
    found: list[Check] = []
    if checks:
        system = await asyncio.to_thread(System, folder, "--ingress", "1", "--workers", "1")
        try:
            await asyncio.to_thread(system.wait_ready)
            for check in checks:
                found.append(await check(system))
                say(found[-1].line())
            counted = await asyncio.to_thread(count.count, system, [id for check in found for id in check.ids])
            found[-1].misses += counted.wrong
        finally:
            await asyncio.to_thread(system.stop)
    return found
