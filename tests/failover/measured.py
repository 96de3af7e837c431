"""One fault under load, measured, and the count at its end."""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import psycopg

from tests.failover.faults import Fault
from tests.failover.senders import Senders, is_accepted
from tests.failover.system import System
from tests.faults.system import until
from tests.faults.traffic import Traffic, judge
from tests.load.client import Answer

WARM_SECONDS = 2.0
RECOVERY_SECONDS = 60.0  # after a fault, until everything is as before
TAIL_SECONDS = 1.0
DRAIN_SECONDS = 90.0  # after the load, until everything is stored
FRESH_SECONDS = 1.0  # since the last acknowledgement
NUMBERS = 10**8  # of messages, for one fault


@dataclass
class Measured:
    """One fault, and the count after it. Times are in seconds; one that is not known is None."""

    topology: str
    name: str
    answers: list[Answer] = field(default_factory=list)
    replaced: float | None = None  # until another server was the primary
    without_redis: float = 0.0  # of one ingress, the one with more
    drain_pause: float | None = None  # the longest time between two commits
    drained: float | None = None  # from the end of the load until everything was stored
    spooled: int = 0
    repeats: int = 0
    named: int = 0  # callbacks that Redis lost, as `callbox status` says
    uncounted: int = 0  # rows that the ledger does not count as accepted
    rows: int = 0
    verdict: dict[str, list[str]] = field(default_factory=dict)
    error: str = ""
    status: str = ""  # what `callbox status` says, where something was lost

    @property
    def accepted(self) -> int:
        return sum(map(is_accepted, self.answers))

    def count(self, status: int) -> int:
        """How many requests ended so; 0 is no answer."""
        return sum(answer.status == status for answer in self.answers)

    def is_kept(self, may_lose: bool) -> bool:
        """Whether every promise was kept, that nothing is lost aside if it may."""
        broken = [what for what, cases in self.verdict.items() if cases and not (may_lose and what == LOST)]
        return not broken and not self.error

    def line(self) -> str:
        """For people, as it ends."""
        words = [
            f"{self.topology}: {self.name}",
            f"{len(self.answers)} sent, {self.accepted} acknowledged",
            f"{self.count(503)} × 503, {self.count(0)} unanswered",
            ", ".join(f"{len(cases)} {what}" for what, cases in self.verdict.items()) or "not counted",
            f"another primary after {in_seconds(self.replaced)}",
            f"{self.without_redis:.1f} s without Redis",
            f"drain paused {in_seconds(self.drain_pause)}, done {in_seconds(self.drained)} after the load",
            f"{self.spooled} spooled, {self.repeats} repeats",
            f"{self.uncounted} not in the ledger, {self.named} lost as it says",
        ]
        return " | ".join([*words, *([self.error] if self.error else [])])


LOST = "lost"  # of the verdict


def in_seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"


async def measure(
    topology: str, system: System, fault: Fault, rate: float, dice: random.Random, number: int
) -> Measured:
    """Has the fault happen under load, waits until what was acknowledged is stored, counts, and empties the tables."""
    measured = Measured(topology, fault.name)
    before = await asyncio.to_thread(_ledger, system)
    traffic = Traffic(system.sources, dice, (number + 10) * NUMBERS)
    senders = Senders(system.urls, system.sources, traffic)
    wall = time.time() - time.monotonic()  # of what PostgreSQL says
    watching = [asyncio.ensure_future(watch.run()) for watch in system.watches]
    load = asyncio.ensure_future(senders.run(rate))
    await asyncio.sleep(WARM_SECONDS)
    began = time.monotonic()
    try:
        measured.replaced = await fault.do()
        await until(lambda: _is_as_before(system, senders), "everything as before", RECOVERY_SECONDS, 0.3)
    except Exception as error:
        measured.error = str(error) or type(error).__name__
    await asyncio.sleep(TAIL_SECONDS)
    traffic.ended = True
    await load
    ended = time.monotonic()
    with suppress(TimeoutError):
        await until(system.is_drained, "everything stored", DRAIN_SECONDS, 0.3)
    for task in watching:
        task.cancel()
    measured.answers = senders.answers
    measured.spooled = sum(watch.spooled(began - WARM_SECONDS) for watch in system.watches)
    measured.without_redis = max(
        watch.seconds_without_redis(senders.answers_of(ingress), began, ended)
        for ingress, watch in enumerate(system.watches)
    )
    try:
        await asyncio.to_thread(_count, measured, system, traffic, before)
        commits = [at - wall for at in await asyncio.to_thread(system.commits)]
        await asyncio.to_thread(system.forget)
    except psycopg.Error as error:
        measured.error = measured.error or f"nothing was counted: {error}"
        return measured
    measured.drain_pause = _longest_pause(commits, began, ended)
    measured.drained = max(0.0, commits[-1] - ended) if commits else None
    if measured.verdict[LOST]:
        measured.status = await asyncio.to_thread(system.status_in_words)
    return measured


def _is_as_before(system: System, senders: Senders) -> bool:
    """Whether both ingresses acknowledge, no spool gets anything, and what arrives is stored at once."""
    now = time.monotonic()

    def is_fresh(ingress: int) -> bool:
        accepted = (answer for answer in reversed(senders.answers_of(ingress)) if is_accepted(answer))
        latest = next(accepted, None)
        return latest is not None and now - latest.sent_at - latest.seconds < FRESH_SECONDS

    is_acknowledged = all(is_fresh(ingress) and watch.is_steady() for ingress, watch in enumerate(system.watches))
    return is_acknowledged and system.is_fresh()


class _Ledger(NamedTuple):
    """What it says that only grows."""

    accepted: int
    lost: int
    repeats: int


def _ledger(system: System) -> _Ledger:
    status = system.status()
    return _Ledger(status.get("accepted", 0), status.get("lost", 0), system.repeats())


def _count(measured: Measured, system: System, traffic: Traffic, before: _Ledger) -> None:
    """Counts what was acknowledged against what is stored, and that against the ledger, which was `before` so."""
    stored = system.stored()
    status = system.status()
    measured.rows = len(stored.callbacks)
    measured.repeats = system.repeats() - before.repeats
    measured.verdict = judge(traffic, measured.answers, stored, {})
    wrong = measured.verdict["wrong"]
    if not status:
        wrong.append("callbox status does not know")
        return
    wrong += [f"the ledger says {name} {status[name]}" for name in ("pending", "spooled", "difference") if status[name]]
    wrong += [f"{name} is held: {why}" for name, why in status["held"].items()]
    measured.named = status["lost"] - before.lost
    # An ingress that is killed takes with it what it knew.
    if measured.named < len(measured.verdict[LOST]) and "kill -9 ingress" not in measured.name:
        wrong.append(f"callbox status says that {measured.named} are lost")
    measured.uncounted = measured.rows - (status["accepted"] - before.accepted)
    if measured.uncounted < 0:
        wrong.append(f"the ledger says {-measured.uncounted} more than are in `callbacks`")
    odd = {answer.status for answer in measured.answers if not is_accepted(answer)} - {0, 503}
    wrong += [f"an answer {code} that nobody should see" for code in odd]
    wrong += system.ends()


def _longest_pause(commits: Sequence[float], began: float, ended: float) -> float:
    """The longest time between two commits, of those that were not over when the fault began; `ended` is the end of the
    load."""
    before = [at for at in commits if at <= began]
    times = [before[-1] if before else began, *(at for at in commits if began < at < ended), ended]
    return max(later - earlier for earlier, later in pairwise(times))
