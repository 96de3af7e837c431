"""Callbox alone: how late it is at a given load, what it costs as it grows, and what overload does to it."""

import statistics
import time
from signal import SIGCONT

import psycopg

from tests.load import payloads
from tests.load.measure import GROUP, Measurements, rate_of, send
from tests.load.rig import POLL_SECONDS, Callbox, cpu_seconds, resident_bytes, signal_all

CROWD = 1000  # connections of an overload: a provider opens more when answers are late
PATIENCE_SECONDS = 1.0  # of that provider, for a free one


class Growth(Measurements):
    """Millions, first in the inbox and then in the tables."""

    def run(self) -> None:
        system, count = self.rig.grown, self.sizes.backlog
        for number in range(self.sizes.backlogs):
            self.say(f"a backlog of {count:,} ({number + 1} of {self.sizes.backlogs})")
            before = int(system.client.info("memory")["used_memory"])
            with self.filled(system, self.plain, count) as worker:
                if number == 0:
                    used = int(system.client.info("memory")["used_memory"]) - before
                    self.figure("Redis bytes a pending callback", used / count)
                    sample = payloads.raw_bytes(payloads.groups(self.plain, GROUP, GROUP)) / GROUP
                    self.figure("raw bytes a callback", sample)
                began = time.monotonic()
                signal_all(worker, SIGCONT)
                tenths, resident = self._watch_backlog(system, count)
            self.say(f"  drained in {time.monotonic() - began:.0f} s")
            if number == 0:
                self.figure("backlog", count)
                self.figure("backlog: slowest tenth to median", min(tenths) / statistics.median(tenths))
                self.figure("backlog: last tenth to first", tenths[-1] / tenths[0])
                self.figure("backlog: worker MB, after a tenth", resident[0])
                self.figure("backlog: worker MB, at the end", resident[-1])
        self.figure("stored events, grown", system.count())

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


class Loads(Measurements):
    """Half of the maximum, little, and too much; after the rounds, which found the maximum."""

    def run(self) -> None:
        for _ in range(self.sizes.rounds):
            self.half_load()
        self.timed("10/s", 10, self.sizes.calm_seconds)
        self.low()
        self.overload()

    def half_load(self) -> None:
        """Of the ingress alone, and of everything."""
        rig, seconds = self.rig, self.sizes.half_load_seconds
        per_second = self.found.rate("ingress: callbox") / 2
        with rig.awake(rig.one.everything - rig.one.worker):
            answers = send(rig.one.up.url, payloads.wires(self.plain, round(per_second * seconds)), per_second)
        self.latencies("half load of the ingress", [answer.seconds for answer in answers])
        rig.one.forget()
        self.timed("half load", self.found.rate("whole: callbox") / 2, seconds)

    def timed(self, name: str, per_second: float, seconds: float) -> None:
        """Acknowledgements, and from each to its commit."""
        system = self.rig.one
        with self.rig.awake(system.everything):
            answers = send(system.up.url, payloads.wires(self.plain, round(per_second * seconds)), per_second)
            system.wait_drained()
        to_wall = time.time() - time.monotonic()
        with psycopg.connect(system.database_url) as connection:
            committed: dict[str, float] = dict(
                connection.execute(
                    "SELECT id::text, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 FROM callbacks"
                ).fetchall()
            )
        waits = [
            max(0.0, committed[answer.callback_id] - (answer.sent_at + answer.seconds + to_wall)) for answer in answers
        ]
        self.figure(f"{name}: callbacks a second", per_second)
        self.latencies(f"{name}: acknowledged", [answer.seconds for answer in answers])
        self.latencies(f"{name}: acknowledged to committed", waits)
        system.forget()

    def low(self) -> None:
        """What the workers cost at 200 callbacks/s."""
        system, seconds = self.rig.one, self.sizes.low_seconds
        with self.rig.awake(system.everything):
            before = cpu_seconds(system.worker)
            send(system.up.url, payloads.wires(self.plain, 200 * seconds), 200)
            self.figure("200/s: cores of the workers", (cpu_seconds(system.worker) - before) / seconds)
        system.forget()

    def overload(self) -> None:
        """Twice what the system acknowledges while it works, for a while."""
        system, seconds = self.rig.one, self.sizes.overload_seconds
        normal = self.found.rate("whole: callbox, acknowledged")
        wires = payloads.wires(self.plain, round(2 * normal * seconds))
        with self.rig.awake(system.everything):
            before = resident_bytes(system.ingresses)
            answers = send(system.up.url, wires, 2 * normal, CROWD, PATIENCE_SECONDS)
            self.figure("overload: ingress MB before", before / 1e6)
            self.figure("overload: ingress MB after", resident_bytes(system.ingresses) / 1e6)
            self.figure("overload: worker MB after", resident_bytes(system.children) / 1e6)
            after = send(system.up.url, payloads.wires(self.plain, 200 * self.sizes.after_seconds), 200)
            began = time.monotonic()
            system.wait_drained()
            self.figure("overload: seconds until the inbox is empty", time.monotonic() - began)
        accepted = [answer for answer in answers if answer.status == 200]
        self.figure("overload: offered a second", 2 * normal)
        self.figure("overload: acknowledged to normal", rate_of(accepted) / normal)
        self.figure("overload: answered 503", sum(answer.status == 503 for answer in answers))
        self.figure("overload: no connection free", sum(answer.waited_seconds > PATIENCE_SECONDS for answer in answers))
        self.figure("overload: other answers", sum(answer.status not in (0, 200, 503) for answer in answers))
        self.latencies("overload: acknowledged", [answer.seconds - answer.waited_seconds for answer in accepted])
        self.latencies("overload: at 200/s right after, acknowledged", [answer.seconds for answer in after])
        lost = len(accepted) + len(after) - system.count()
        assert not lost, f"{lost} acknowledged callbacks are not in the table"
        system.forget()
