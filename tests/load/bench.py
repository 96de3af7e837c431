"""The measurements of `make bench`. Contenders take turns, round after round, so that what the machine does meanwhile
hurts all of them alike; what counts are medians, and ratios within a round.
"""

import gc
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psycopg
import uvloop
from psycopg.types.string import TextLoader

from tests.load import contenders, payloads
from tests.load.client import Answer, Client
from tests.load.rig import POLL_SECONDS, SIGCONT, SIGSTOP, Callbox, Rig, cpu_seconds, resident_bytes, signal_all

CONNECTIONS = 64
CROWD = 1000  # connections of an overload: a provider opens more when answers are late
PATIENCE_SECONDS = 1.0  # of that provider, for a free one
GROUP = 500  # callbacks in one append, and in one transaction of COPY, as in one of Callbox's
COPIED = ("callbacks", "inbound_messages", "delivery_reports", "deliveries")


class Sizes(NamedTuple):
    """How much is measured. Counts are callbacks of one round."""

    rounds: int
    ingress: int
    drain: int
    whole: int
    usual: int  # a tenth of the others: it takes as long
    backlog: int
    backlogs: int  # one after another: so many make a database that has grown
    half_load_seconds: int
    calm_seconds: int
    overload_seconds: int


FULL = Sizes(5, 30_000, 40_000, 40_000, 4_000, 1_000_000, 2, 20, 30, 60)
TINY = Sizes(1, 200, 200, 200, 20, 1_000, 1, 1, 1, 1)


@dataclass
class Found:
    """`rates` are callbacks a second by name, one for each round; `figures` what was measured once, or last."""

    rates: "defaultdict[str, list[float]]" = field(default_factory=lambda: defaultdict(list))
    figures: dict[str, float] = field(default_factory=dict)

    def rate(self, name: str) -> float:
        return statistics.median(self.rates[name])

    def ratio(self, name: str, to: str) -> float:
        """The median of the ratios within a round."""
        pairs = zip(self.rates[name], self.rates[to], strict=True)
        return statistics.median(one / other for one, other in pairs)


class Bench:
    """All measurements, on one rig."""

    def __init__(self, rig: Rig, sizes: Sizes, say: Callable[[str], None]) -> None:
        self._rig = rig
        self._sizes = sizes
        self._say = say
        self._found = Found()
        sources = rig.one.sources
        self._plain = [sources["support"]]
        self._mixed = [sources[name] for name in ("support", "fleet", "otp")]
        self._small = [source for name, source in sources.items() if name.startswith("small-")]

    def run(self) -> Found:
        self._backlog()
        for number in range(1, self._sizes.rounds + 1):
            self._say(f"round {number} of {self._sizes.rounds}")
            self._ingress()
            self._drain()
            self._whole()
        self._half_load()
        self._calm()
        self._low()
        self._overload()
        return self._found

    def _note(self, name: str, rate: float) -> None:
        self._found.rates[name].append(rate)
        self._say(f"  {name}: {rate:,.0f}/s")

    def _figure(self, name: str, figure: float) -> None:
        self._found.figures[name] = figure
        self._say(f"  {name}: {figure:,.4g}")

    # The ingress alone: workers sleep.

    def _ingress(self) -> None:
        rig, count = self._rig, self._sizes.ingress
        wires = payloads.wires(self._plain, count)
        for name, its in (("echo", wires), ("floor", wires), ("usual", wires[: self._sizes.usual])):
            with rig.awake(rig.contender(name)):
                self._note(f"ingress: {name}", _rate(_send(rig.urls[name], its)))
        rig.forget_usual()
        for name, system, its in (
            ("callbox", rig.one, wires),
            ("callbox, three providers", rig.one, payloads.wires(self._mixed, count)),
            ("callbox, many sources", rig.one, payloads.wires(self._small, count)),
            ("callbox, two processes", rig.two, wires),
        ):
            with rig.awake(system.everything - system.worker):
                self._note(f"ingress: {name}", _rate(_send(system.up.url, its)))
            if name == "callbox":
                self._figure("ingress resident MB", resident_bytes(system.ingresses) / 1e6)
            system.forget()

    # The drain alone: from a full inbox to committed rows.

    def _drain(self) -> None:
        rig, count = self._rig, self._sizes.drain
        self._note("drain: usual", self._usual_drain())
        self._note("drain: callbox", self._drained(rig.one, self._plain, count))
        self._note("drain: COPY", self._copied(count, GROUP))
        self._note("drain: COPY at once", self._copied(count, count))
        rig.one.forget()
        for name, system, sources in (
            ("three providers", rig.one, self._mixed),
            ("many sources", rig.one, self._small),
            ("two children", rig.two, self._plain),
        ):
            self._note(f"drain: callbox, {name}", self._drained(system, sources, count))
            system.forget()
        self._note("drain: callbox, grown", self._drained(rig.grown, self._plain, count))

    def _usual_drain(self) -> float:
        rig = self._rig
        its = payloads.bodies(self._plain[0], self._sizes.usual)
        worker = rig.contender("usual worker")
        with rig.awake(worker):
            signal_all(worker, SIGSTOP)
            before = rig.usual_count()
            for body in its:
                contenders.record.delay(body)
            began = time.monotonic()
            signal_all(worker, SIGCONT)
            rig.wait_usual(before + len(its))
            took = time.monotonic() - began
            rig.forget_usual()
        return len(its) / took

    def _drained(self, system: Callbox, sources: Any, count: int) -> float:
        with self._filled(system, sources, count) as worker:
            began = time.monotonic()
            signal_all(worker, SIGCONT)
            system.wait_drained()
            return count / (time.monotonic() - began)

    @contextmanager
    def _filled(self, system: Callbox, sources: Any, count: int) -> Iterator[set[int]]:
        """A worker that is warm and stopped, before a full inbox."""
        worker = system.worker
        with self._rig.awake(worker):
            system.fill(payloads.groups(sources, GROUP, GROUP))
            system.wait_drained()
            time.sleep(0.2)  # until its drain has ended
            signal_all(worker, SIGSTOP)
            system.fill(payloads.groups(sources, count, GROUP))
            yield worker

    def _copied(self, count: int, group: int) -> float:
        """The rows that Callbox has just stored, by COPY, into tables without an index; so many callbacks in each
        transaction."""
        with self._rig.awake(), psycopg.connect(self._rig.one.database_url, autocommit=True) as connection:
            connection.adapters.register_loader("jsonb", TextLoader)  # no JSON is made or read on the way
            connection.execute("CREATE SCHEMA IF NOT EXISTS bare")
            rows: dict[str, list[Any]] = {}
            for table in COPIED:
                connection.execute(f"DROP TABLE IF EXISTS bare.{table}".encode())
                connection.execute(f"CREATE TABLE bare.{table} (LIKE {table})".encode())
                rows[table] = connection.execute(f"SELECT * FROM {table}".encode()).fetchall()
            share = len(rows["callbacks"]) / count  # those that warmed the worker are there too
            groups = round(count * share / group) or 1
            began = time.monotonic()
            for number in range(groups):
                with connection.transaction(), connection.cursor() as cursor:
                    for table, its in rows.items():
                        with cursor.copy(f"COPY bare.{table} FROM STDIN".encode()) as copy:
                            for row in its[number::groups]:
                                copy.write_row(row)
            took = time.monotonic() - began
        return count * share / took

    # Everything at once, on the same cores.

    def _whole(self) -> None:
        rig = self._rig
        with rig.awake(rig.contender("usual"), rig.contender("usual worker")):
            before = rig.usual_count()
            began = time.monotonic()
            _send(rig.urls["usual"], payloads.wires(self._plain, self._sizes.usual))
            rig.wait_usual(before + self._sizes.usual)
            self._note("whole: usual", self._sizes.usual / (time.monotonic() - began))
            rig.forget_usual()
        for name, system in (("callbox", rig.one), ("callbox, two and two", rig.two)):
            wires = payloads.wires(self._plain, self._sizes.whole)
            with rig.awake(system.everything):
                began = time.monotonic()
                answers = _send(system.up.url, wires)
                self._figure(f"worker resident MB, {name}", resident_bytes(system.children) / 1e6)
                system.wait_drained()
                self._note(f"whole: {name}", len(wires) / (time.monotonic() - began))
                self._note(f"whole: {name}, acknowledged", _rate(answers))
            assert system.count() == len(wires), f"{system.count()} of {len(wires)} callbacks are in the table"
            system.forget()

    # Latencies.

    def _half_load(self) -> None:
        rig, seconds = self._rig, self._sizes.half_load_seconds
        per_second = self._found.rate("ingress: callbox") / 2
        with rig.awake(rig.one.everything - rig.one.worker):
            answers = _send(rig.one.up.url, payloads.wires(self._plain, round(per_second * seconds)), per_second)
        self._latencies("half load of the ingress", [it.seconds for it in answers])
        rig.one.forget()
        self._timed("half load", self._found.rate("whole: callbox") / 2, seconds)

    def _calm(self) -> None:
        self._timed("10/s", 10, self._sizes.calm_seconds)

    def _timed(self, name: str, per_second: float, seconds: float) -> None:
        """Acknowledgements, and from each to its commit."""
        system = self._rig.one
        with self._rig.awake(system.everything):
            answers = _send(system.up.url, payloads.wires(self._plain, round(per_second * seconds)), per_second)
            system.wait_drained()
        to_wall = time.time() - time.monotonic()
        with psycopg.connect(system.database_url) as connection:
            committed: dict[str, float] = dict(
                connection.execute(
                    "SELECT id::text, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 FROM callbacks"
                ).fetchall()
            )
        waits = [max(0.0, committed[it.callback_id] - (it.sent_at + it.seconds + to_wall)) for it in answers]
        self._figure(f"{name}: callbacks a second", per_second)
        self._latencies(f"{name}: acknowledged", [it.seconds for it in answers])
        self._latencies(f"{name}: acknowledged to committed", waits)
        system.forget()

    def _latencies(self, name: str, seconds: Sequence[float]) -> None:
        for percent in (50, 99):
            self._figure(f"{name}, p{percent} ms", 1000 * _percentile(seconds, percent))

    def _low(self) -> None:
        system, seconds = self._rig.one, self._sizes.half_load_seconds
        with self._rig.awake(system.everything):
            before = cpu_seconds(system.worker)
            _send(system.up.url, payloads.wires(self._plain, 200 * seconds), 200)
            self._figure("200/s: cores of the workers", (cpu_seconds(system.worker) - before) / seconds)
        system.forget()

    # Growth and overload.

    def _backlog(self) -> None:
        """Millions, first in the inbox and then in the tables."""
        system, count = self._rig.grown, self._sizes.backlog
        for number in range(self._sizes.backlogs):
            self._say(f"a backlog of {count:,} ({number + 1} of {self._sizes.backlogs})")
            before = int(system.client.info("memory")["used_memory"])
            with self._filled(system, self._plain, count) as worker:
                if number == 0:
                    used = int(system.client.info("memory")["used_memory"]) - before
                    self._figure("Redis bytes a pending callback", used / count)
                    sample = payloads.raw_bytes(payloads.groups(self._plain, GROUP, GROUP)) / GROUP
                    self._figure("raw bytes a callback", sample)
                began = time.monotonic()
                signal_all(worker, SIGCONT)
                tenths, resident = self._watch_backlog(system, count)
            self._say(f"  drained in {time.monotonic() - began:.0f} s")
            self._found.figures["backlog"] = count
            if number == 0:
                self._figure("backlog: slowest tenth to median", min(tenths) / statistics.median(tenths))
                self._figure("backlog: last tenth to first", tenths[-1] / tenths[0])
                self._figure("backlog: worker MB, after a tenth", resident[0])
                self._figure("backlog: worker MB, at the end", resident[-1])
        self._figure("stored events, grown", system.count())

    def _watch_backlog(self, system: Callbox, count: int) -> tuple[list[float], list[float]]:
        """Callbacks a second, and the child's memory, tenth by tenth."""
        rates: list[float] = []
        resident: list[float] = []
        last_at, last_left = time.monotonic(), count
        while left := system.pending():
            if last_left - left >= count / 10:
                now = time.monotonic()
                rates.append((last_left - left) / (now - last_at))
                resident.append(resident_bytes(system.children) / 1e6)
                last_at, last_left = now, left
            time.sleep(POLL_SECONDS)
        if not rates:  # all was gone at once
            rates.append(count / (time.monotonic() - last_at))
            resident.append(resident_bytes(system.children) / 1e6)
        return rates, resident

    def _overload(self) -> None:
        """Twice what the system acknowledges while it works, for a while."""
        system, seconds = self._rig.one, self._sizes.overload_seconds
        normal = self._found.rate("whole: callbox, acknowledged")
        wires = payloads.wires(self._plain, round(2 * normal * seconds))
        with self._rig.awake(system.everything):
            before = resident_bytes(system.ingresses)
            answers = _send(system.up.url, wires, 2 * normal, CROWD, PATIENCE_SECONDS)
            self._figure("overload: ingress MB before", before / 1e6)
            self._figure("overload: ingress MB after", resident_bytes(system.ingresses) / 1e6)
            self._figure("overload: worker MB after", resident_bytes(system.children) / 1e6)
            after = _send(system.up.url, payloads.wires(self._plain, 1000), 200)
            began = time.monotonic()
            system.wait_drained()
            self._figure("overload: seconds until the inbox is empty", time.monotonic() - began)
        accepted = [it for it in answers if it.status == 200]
        self._figure("overload: offered a second", 2 * normal)
        self._figure("overload: acknowledged to normal", _rate(accepted) / normal)
        self._figure("overload: answered 503", sum(it.status == 503 for it in answers))
        self._figure("overload: no connection free", sum(it.waited_seconds > PATIENCE_SECONDS for it in answers))
        self._figure("overload: other answers", sum(it.status not in (0, 200, 503) for it in answers))
        self._latencies("overload: acknowledged", [it.seconds - it.waited_seconds for it in accepted])
        self._latencies("overload: at 200/s right after, acknowledged", [it.seconds for it in after])
        lost = len(accepted) + len(after) - system.count()
        assert not lost, f"{lost} acknowledged callbacks are not in the table"
        system.forget()


def _send(
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
        odd = [it for it in answers if it.status != 200]
        assert not odd, f"{url}: {len(odd)} of {len(answers)} answers are not 200, the first: {odd[0]}"
    return answers


def _rate(answers: Sequence[Answer]) -> float:
    began = min(it.sent_at for it in answers)
    return len(answers) / (max(it.sent_at + it.seconds for it in answers) - began)


def _percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]
