"""One run: load, faults in turn, faults together, and the count of what arrived."""

import asyncio
import platform
import random
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.faults.faults import EVERYTHING, Fault, Faults, mount, unmount
from tests.faults.stored import Stored
from tests.faults.system import SETTINGS, System, until
from tests.faults.traffic import Traffic, judge
from tests.load.client import Answer, Client

TOGETHER_ROUNDS = 2
TOGETHER_COUNT = 5
TOGETHER_SECONDS = 8.0  # within which they all begin
RECOVERY_SECONDS = 60.0  # after which a fault counts as not recovered from
ANSWER_SECONDS = 10.0  # a provider's patience
SETTLE_SECONDS = 90.0
BROKEN = (
    NO_FSYNC := "no fsync in Redis",
    "callbacks answered before the commit",
    "entries acknowledged before COMMIT",
)

Say = Callable[[str], None]


@dataclass
class Measured:
    """What one fault did. `recovery_seconds` is from its end until what arrives is stored within a second again."""

    name: str
    began: float
    recovery_seconds: float | None = None
    error: str = ""
    answers: list[Answer] = field(default_factory=list)

    def row(self) -> list[str]:
        """For the table: the fault, callbacks, answered by 503, unanswered, longest gap, recovery."""
        accepted = sorted(answer.sent_at + answer.seconds for answer in self.answers if 200 <= answer.status < 300)
        times = [self.began, *accepted]
        gap = max((later - earlier for earlier, later in pairwise(times)), default=0.0)
        recovery = "not recovered" if self.recovery_seconds is None else f"{self.recovery_seconds:.1f} s"
        return [
            self.name,
            f"{len(self.answers)}",
            f"{sum(answer.status == 503 for answer in self.answers)}",
            f"{sum(answer.status == 0 for answer in self.answers)}",
            f"{gap:.2f} s",
            self.error or recovery,
        ]


@dataclass
class Report:
    """What a run found."""

    seed: int
    rate: float
    faults: list[Measured]
    sent: int
    accepted: int
    rows: int
    verdict: dict[str, list[str]]
    odd: "dict[int, int]"  # answers by HTTP status, without 2XX, 503 and none

    @property
    def kept(self) -> bool:
        """Whether every promise was kept, and every fault recovered from."""
        return (
            not any(self.verdict.values())
            and not self.odd
            and not any(fault.error or fault.recovery_seconds is None for fault in self.faults)
        )

    def summary(self) -> str:
        """The count, for people."""
        lines = [
            f"{self.sent} callbacks sent at {self.rate:g}/s, {self.accepted} acknowledged, {self.rows} in `callbacks`",
            ", ".join(f"{len(cases)} {what}" for what, cases in self.verdict.items()),
        ]
        lines += [f"  {what}: {case}" for what, cases in self.verdict.items() for case in cases[:10]]
        lines += [f"  {fault.name}: {fault.error or 'not recovered'}" for fault in self.faults if fault.error]
        if self.odd:
            lines.append(f"  answers that nobody should see: {self.odd}")
        lines.append("every promise kept" if self.kept else "PROMISES BROKEN")
        return "\n".join(lines)

    def document(self) -> str:
        """docs/faults.md."""
        heading = ["fault", "callbacks sent", "answered 503", "unanswered", "longest time without a 2XX", "recovery"]
        table = [heading, ["---"] * len(heading), *(fault.row() for fault in self.faults)]
        settings = ", ".join(f"`{name}={value}`" for name, value in SETTINGS.items())
        rows = "\n".join("| " + " | ".join(row) + " |" for row in table)
        count, verdict = self.summary().splitlines()[:2]
        machine = f"{platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}"
        return _DOCUMENT.format(
            seed=self.seed,
            count=count,
            verdict=verdict,
            rows=rows,
            patience=ANSWER_SECONDS,
            settings=settings,
            machine=machine,
        )


_DOCUMENT = """# Faults

Written by `make faults`; a seed repeats a run's choices, not its timing. Two ingress processes and one worker with two
children serve a steady load of signed callbacks of every provider, with duplicates, garbage and receipts out of
order, while each of these happens. In the end what was acknowledged is counted against `callbacks`, and events and
deliveries against a reference computed from what was sent.

**Seed {seed}: {count}: {verdict}.**

{rows}

*Recovery* is the time from the end of a fault until what arrives is stored within a second again and no spool holds
anything; for a killed worker it is the time until its claims are taken over. Celery's own pauses after an outage of
Redis are in it; they are shortened to 2 s. *Unanswered* are requests whose process was killed, or frozen for longer
than the {patience:g} s that the client waits: a provider sends those again, and none of them was acknowledged.

Deadlines were short, so that a fault could outlast all of them, and batches small, so that drains read ahead:
{settings}.
With the defaults the recoveries that wait for a deadline take longer in proportion: a lost claim 15 to 20 s, a stalled
worker up to 30 s.

Machine: {machine}.
"""


async def run(
    folder: Path,
    seed: int,
    rate: float,
    only: Collection[str] = (),
    say: Say = print,
    broken: str = "",
    is_forked: bool = False,
) -> Report:
    """Starts everything, does the faults (all and then some together, or only those of these names), counts, and stops
    everything. `broken` is a promise to be broken on purpose. `is_forked`: see Running."""
    dice = random.Random(seed)
    system = System(folder, {"CALLBOX_SPOOL_BYTES": "12000000"}, broken, is_forked)
    mounted = mount(system)
    try:
        await system.start()
        if broken == NO_FSYNC:
            await asyncio.to_thread(system.forget_fsync)
        traffic = Traffic(system.sources, random.Random(seed))
        answers: list[Answer] = []
        load = asyncio.ensure_future(
            Client(system.up.url, connections=64, timeout_seconds=ANSWER_SECONDS).run(traffic, rate, answers.append)
        )
        faults = Faults(system, traffic, dice)
        chosen = [fault for fault in faults.all() if not only or fault.name in only]
        dice.shuffle(chosen)
        await asyncio.sleep(2)
        measured = [await _measure(system, fault.name, [fault], dice, answers, say) for fault in chosen]
        for number in range(TOGETHER_ROUNDS if not only else 0):
            some = _apart(faults.all(), dice)
            name = f"together ({number + 1}): " + ", ".join(fault.name for fault in some)
            measured.append(await _measure(system, name, some, dice, answers, say))
        synced = await asyncio.to_thread(system.is_synced)
        traffic.ended = True
        await load
        with suppress(TimeoutError):
            await until(lambda: not system.left(), "empty inbox and spools", SETTLE_SECONDS)
        stored = await asyncio.to_thread(system.stored)
        verdict = judge(traffic, answers, stored, faults.damaged)
        if not synced:
            verdict["wrong"].append("what Redis had answered was not on its disk (WAITAOF)")
        verdict["wrong"] += [
            f"{count} left in {where}" for where, count in (await asyncio.to_thread(system.left)).items()
        ]
        verdict["wrong"] += await asyncio.to_thread(system.said_wrong)
        verdict["wrong"] += _ledger(await asyncio.to_thread(system.status), stored)
        return _report(seed, rate, measured, answers, stored, verdict)
    finally:
        await system.stop()
        if mounted:
            unmount(system)


async def _measure(
    system: System, name: str, faults: list[Fault], dice: random.Random, answers: list[Answer], say: Say
) -> Measured:
    measured = Measured(name, time.monotonic())
    first = len(answers)

    async def one(fault: Fault) -> None:
        if len(faults) > 1:
            await asyncio.sleep(dice.uniform(0, TOGETHER_SECONDS))
        await fault.do()

    try:
        async with asyncio.TaskGroup() as tasks:
            for fault in faults:
                tasks.create_task(one(fault))
        measured.recovery_seconds = await system.recovered(RECOVERY_SECONDS)
    except* Exception as group:
        measured.error = "; ".join(str(error) or type(error).__name__ for error in group.exceptions)
    await asyncio.sleep(dice.uniform(0.2, 1.0))
    measured.answers = answers[first:]
    say(" | ".join(measured.row()))
    return measured


def _apart(faults: list[Fault], dice: random.Random) -> list[Fault]:
    """Some faults that do not undo each other's work: of each target at most one."""
    chosen: dict[str, Fault] = {}
    for fault in dice.sample(faults, len(faults)):
        if fault.hurts != EVERYTHING:
            chosen.setdefault(fault.hurts, fault)
    return list(chosen.values())[:TOGETHER_COUNT]


def _ledger(status: dict[str, Any], stored: Stored) -> list[str]:
    """What the ledger says that the tables do not."""
    rows = stored.callbacks
    found = [f"the ledger says {name} {status[name]}" for name in ("pending", "spooled", "difference") if status[name]]
    for name, outcome in (("stored", "stored"), ("duplicates", "duplicate"), ("dead_letters", "dead")):
        count = sum(row.outcome == outcome for row in rows)
        if status[name] != count:
            found.append(f"the ledger says {name} {status[name]}, the table {count}")
    if status["accepted"] != len(rows):
        found.append(f"the ledger says accepted {status['accepted']}, the table {len(rows)}")
    return found


def _report(
    seed: int, rate: float, faults: list[Measured], answers: list[Answer], stored: Stored, verdict: dict[str, Any]
) -> Report:
    accepted = sum(200 <= answer.status < 300 for answer in answers)
    odd: dict[int, int] = {}
    for answer in answers:
        if not 200 <= answer.status < 300 and answer.status not in (0, 503):
            odd[answer.status] = odd.get(answer.status, 0) + 1
    return Report(seed, rate, faults, len(answers), accepted, len(stored.callbacks), verdict, odd)
