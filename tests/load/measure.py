"""What all measurements share: how much is measured, what was found, how to send and how to fill an inbox."""

import gc
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from signal import SIGSTOP
from typing import Any, NamedTuple

import uvloop

from tests.load import payloads
from tests.load.client import Answer, Client
from tests.load.rig import Callbox, Rig, signal_all

CONNECTIONS = 64
GROUP = 500  # callbacks in one append, and in one transaction of COPY, as in one of Callbox's


class Sizes(NamedTuple):
    """How much is measured. Counts are callbacks of one round."""

    rounds: int
    ingress: int
    drain: int
    whole: int
    usual: int  # a tenth of the others: it takes as long
    backlog: int
    backlogs: int  # one after another, until the database has grown
    half_load_seconds: int  # of one round
    low_seconds: int
    calm_seconds: int
    overload_seconds: int
    after_seconds: int  # of an overload


FULL = Sizes(5, 30_000, 40_000, 40_000, 4_000, 1_000_000, 2, 8, 20, 30, 60, 5)
TINY = Sizes(1, 200, 200, 200, 20, 1_000, 1, 1, 1, 1, 1, 1)


@dataclass
class Found:
    """By name, everything as often as it was measured: `rates` are callbacks a second, one for each round."""

    rates: "defaultdict[str, list[float]]" = field(default_factory=lambda: defaultdict(list))
    figures: "defaultdict[str, list[float]]" = field(default_factory=lambda: defaultdict(list))

    def rate(self, name: str) -> float:
        return statistics.median(self.rates[name])

    def figure(self, name: str) -> float:
        return statistics.median(self.figures[name])

    def ratio(self, name: str, to: str) -> float:
        """The median of the ratios within a round."""
        pairs = zip(self.rates[name], self.rates[to], strict=True)
        return statistics.median(one / other for one, other in pairs)


class Measurements:
    """Some of them, on one rig."""

    def __init__(self, rig: Rig, sizes: Sizes, found: Found, say: Callable[[str], None]) -> None:
        self.rig = rig
        self.sizes = sizes
        self.found = found
        self.say = say
        sources = rig.one.sources
        self.plain = [sources["support"]]
        self.mixed = [source for name, source in sources.items() if name.startswith("every-")]
        self.small = [source for name, source in sources.items() if name.startswith("small-")]

    def note(self, name: str, rate: float) -> None:
        self.found.rates[name].append(rate)
        self.say(f"  {name}: {rate:,.0f}/s")

    def figure(self, name: str, figure: float) -> None:
        self.found.figures[name].append(figure)
        self.say(f"  {name}: {figure:,.4g}")

    def latencies(self, name: str, seconds: Sequence[float]) -> None:
        for percent in (50, 99):
            self.figure(f"{name}, p{percent} ms", 1000 * percentile(seconds, percent))

    @contextmanager
    def filled(self, system: Callbox, sources: Any, count: int) -> Iterator[set[int]]:
        """A worker that is warm and stopped, before a full inbox."""
        worker = system.worker
        with self.rig.awake(worker):
            system.fill(payloads.groups(sources, GROUP, GROUP))
            system.wait_drained()
            time.sleep(0.2)  # until its drain has ended
            signal_all(worker, SIGSTOP)
            system.fill(payloads.groups(sources, count, GROUP))
            yield worker


def send(
    url: str,
    wires: Sequence[bytes],
    per_second: float | None = None,
    connections: int = CONNECTIONS,
    patience_seconds: float = float("inf"),
) -> list[Answer]:
    """The answers. Fails on one that should not be: an outage is not what is measured here."""
    answers: list[Answer] = []
    client = Client(url, connections, patience_seconds=patience_seconds)
    gc.collect()
    gc.freeze()
    gc.disable()  # its pauses would be measured
    try:
        uvloop.run(client.run(wires, per_second, answers.append))
    finally:
        gc.enable()
        gc.unfreeze()
    if patience_seconds == float("inf"):
        odd = [answer for answer in answers if answer.status != 200]
        assert not odd, f"{url}: {len(odd)} of {len(answers)} answers are not 200, the first: {odd[0]}"
    return answers


def rate_of(answers: Sequence[Answer]) -> float:
    began = min(answer.sent_at for answer in answers)
    return len(answers) / (max(answer.sent_at + answer.seconds for answer in answers) - began)


def percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]
