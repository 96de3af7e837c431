"""The runs: topology after topology, fault after fault, each under load and each with a count at its end."""

import random
import shutil
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from tests.failover.faults import FAILED_OVER, FAULTS, together
from tests.failover.measured import Measured, measure
from tests.failover.sentinel import REPLICAS
from tests.failover.system import PROCESSES
from tests.failover.topology import TOPOLOGIES, Topology, build

TOGETHER = 2  # faults in a run beside which a process is killed
SHOWN = 5  # cases of each kind that are printed

Say = Callable[[str], None]
Plan = Sequence[tuple[str, str]]  # names of failures, each with that of a process to be killed beside it, or nothing
SAY = partial(print, flush=True)


class Wanted(NamedTuple):
    """What is to be run."""

    seed: int
    runs: int = 1
    each: int = 0  # failures of each topology in a run; 0: all of them
    rate: float = 1000.0  # callbacks a second
    topologies: Collection[str] = TOPOLOGIES
    only: Collection[str] = ()  # words, of which a fault's name has one; without any, all faults
    wait_replicas: int = 1
    is_broken: bool = False  # replicas that confirm are not waited for (sitecustomize.py)
    settings: Mapping[str, str] = {}
    keeps_folders: bool = False  # also of what went well


async def run(wanted: Wanted, folder: Path, say: Say = SAY) -> list[Measured]:
    """Does everything that is wanted; every server and process is stopped, also when this is interrupted."""
    found: list[Measured] = []
    plans = {name: _plans(name, wanted) for name in wanted.topologies}
    for number in range(1, wanted.runs + 1):
        for name in wanted.topologies:
            dice = random.Random(f"{wanted.seed} {number} {name}")
            own = folder / f"{number}-{name}"
            of_this: list[Measured] = []
            async with aclosing(_faults(name, next(plans[name]), wanted, dice, own)) as faults:
                async for measured in faults:
                    _report(measured, f"run {number} of {wanted.runs}", say)
                    of_this.append(measured)
            if all(measured.is_kept(may_lose=True) for measured in of_this) and not wanted.keeps_folders:
                shutil.rmtree(own, ignore_errors=True)
            found += of_this
    return found


def _report(measured: Measured, which: str, say: Say) -> None:
    say(f"{which}: {measured.line()}")
    for what, cases in measured.verdict.items():
        for case in cases[:SHOWN]:
            say(f"  {what}: {case}")
    if measured.status:
        say(measured.status)


async def _faults(
    name: str, plan: Plan, wanted: Wanted, dice: random.Random, folder: Path
) -> AsyncGenerator[Measured, None]:
    """Each in turn. One after which something is wrong is the last of its system: the next one gets a new one."""
    environment = {**wanted.settings, "CALLBOX_REDIS_WAIT_REPLICAS": str(wanted.wait_replicas)}
    topology: Topology | None = None
    try:
        for number, (fault_name, killed) in enumerate(plan):
            if topology is None:
                topology = build(name, folder / f"{number}", environment, dice, wanted.is_broken)
                await topology.system.start()
            fault = topology.faults[fault_name]
            if killed:
                fault = together(fault, topology.system.process(killed), dice)
            measured = await measure(name, topology.system, fault, wanted.rate, random.Random(dice.random()), number)
            measured.name += topology.note
            if not measured.is_kept(may_lose=False):
                await topology.system.stop()
                topology = None
            yield measured
    finally:
        if topology is not None:
            await topology.system.stop()


def _is_wanted(fault: str, wanted: Wanted) -> bool:
    if wanted.only:
        return any(word in fault for word in wanted.only)
    return fault != FAILED_OVER or wanted.wait_replicas >= REPLICAS  # it loses what only one of two replicas confirms


def _plans(topology: str, wanted: Wanted) -> Iterator[Plan]:
    """That of each run, without end."""
    dice = random.Random(f"{wanted.seed} {topology}")
    rounds = (_round(topology, wanted, dice) for _ in iter(int, 1))
    if not wanted.each or not any(_is_wanted(name, wanted) for name in FAULTS[topology]):
        return rounds
    faults = chain.from_iterable(rounds)
    return (list(islice(faults, wanted.each)) for _ in iter(int, 1))


def _round(topology: str, wanted: Wanted, dice: random.Random) -> Plan:
    """Every failure once, and some of them beside the end of a process."""
    names = [name for name in FAULTS[topology] if _is_wanted(name, wanted)]
    plan = [(name, "") for name in names]
    if not wanted.only:
        plan += [(dice.choice(names), dice.choice(PROCESSES)) for _ in range(TOGETHER)]
    dice.shuffle(plan)
    return plan
