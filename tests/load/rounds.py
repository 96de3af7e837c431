"""Callbox and its contenders in turn, round after round, so that what else the machine does hurts all of them
alike; what counts are medians, and ratios within a round.
"""

import time
from signal import SIGCONT, SIGSTOP
from typing import Any

import psycopg
from psycopg.types.string import TextLoader

from tests.load import contenders, payloads
from tests.load.measure import GROUP, Measurements, rate_of, send
from tests.load.rig import Callbox, resident_bytes, signal_all

COPIED = ("callbacks", "inbound_messages", "delivery_reports", "deliveries")


class Rounds(Measurements):
    """The ingress, the drain, and both at once."""

    def run(self) -> None:
        for number in range(1, self.sizes.rounds + 1):
            self.say(f"round {number} of {self.sizes.rounds}")
            self.ingress()
            self.drain()
            self.whole()

    def ingress(self) -> None:
        """Acknowledgements, while the workers sleep."""
        rig, count = self.rig, self.sizes.ingress
        wires = payloads.wires(self.plain, count)
        for name, sent in (("echo", wires), ("floor", wires), ("usual", wires[: self.sizes.usual])):
            with rig.awake(rig.contender(name)):
                self.note(f"ingress: {name}", rate_of(send(rig.urls[name], sent)))
        rig.forget_usual()
        for name, system, sent in (
            ("callbox", rig.one, wires),
            ("callbox, every provider", rig.one, payloads.wires(self.mixed, count)),
            ("callbox, many sources", rig.one, payloads.wires(self.small, count)),
            ("callbox, two processes", rig.two, wires),
        ):
            with rig.awake(system.everything - system.worker):
                self.note(f"ingress: {name}", rate_of(send(system.up.url, sent)))
            if name == "callbox":
                self.figure("ingress resident MB", resident_bytes(system.ingresses) / 1e6)
            system.forget()

    def drain(self) -> None:
        """From a full inbox to committed rows, while the ingresses sleep."""
        rig, count = self.rig, self.sizes.drain
        self.note("drain: usual", self._usual_drain())
        self.note("drain: callbox", self._drained(rig.one, self.plain, count))
        self.note("drain: COPY", self._copied(count // GROUP or 1))
        self.note("drain: COPY at once", self._copied(1))
        rig.one.forget()
        for name, system, sources in (
            ("every provider", rig.one, self.mixed),
            ("many sources", rig.one, self.small),
            ("two children", rig.two, self.plain),
        ):
            self.note(f"drain: callbox, {name}", self._drained(system, sources, count))
            system.forget()
        self.note("drain: callbox, grown", self._drained(rig.grown, self.plain, count))

    def whole(self) -> None:
        """Everything at once, on the same cores."""
        rig = self.rig
        with rig.awake(rig.contender("usual"), rig.contender("usual worker")):
            before = rig.usual_count()
            began = time.monotonic()
            send(rig.urls["usual"], payloads.wires(self.plain, self.sizes.usual))
            rig.wait_usual(before + self.sizes.usual)
            self.note("whole: usual", self.sizes.usual / (time.monotonic() - began))
            rig.forget_usual()
        for name, system in (("callbox", rig.one), ("callbox, two and two", rig.two)):
            wires = payloads.wires(self.plain, self.sizes.whole)
            with rig.awake(system.everything):
                began = time.monotonic()
                answers = send(system.up.url, wires)
                self.figure(f"worker resident MB, {name}", resident_bytes(system.children) / 1e6)
                system.wait_drained()
                self.note(f"whole: {name}", len(wires) / (time.monotonic() - began))
                self.note(f"whole: {name}, acknowledged", rate_of(answers))
            assert system.count() == len(wires), f"{system.count()} of {len(wires)} callbacks are in the table"
            system.forget()

    def _usual_drain(self) -> float:
        rig = self.rig
        bodies = payloads.bodies(self.plain[0], self.sizes.usual)
        worker = rig.contender("usual worker")
        with rig.awake(worker):
            signal_all(worker, SIGSTOP)
            before = rig.usual_count()
            for body in bodies:
                contenders.record.delay(body)
            began = time.monotonic()
            signal_all(worker, SIGCONT)
            rig.wait_usual(before + len(bodies))
            took = time.monotonic() - began
            rig.forget_usual()
        return len(bodies) / took

    def _drained(self, system: Callbox, sources: Any, count: int) -> float:
        with self.filled(system, sources, count) as worker:
            began = time.monotonic()
            signal_all(worker, SIGCONT)
            system.wait_drained()
            return count / (time.monotonic() - began)

    def _copied(self, transactions: int) -> float:
        """The rows that Callbox has just stored, by COPY, into tables without an index."""
        with self.rig.awake(), psycopg.connect(self.rig.one.database_url, autocommit=True) as connection:
            connection.adapters.register_loader("jsonb", TextLoader)  # no JSON is made or read on the way
            connection.execute("CREATE SCHEMA IF NOT EXISTS bare")
            rows: dict[str, list[Any]] = {}
            for table in COPIED:
                connection.execute(f"DROP TABLE IF EXISTS bare.{table}".encode())
                connection.execute(f"CREATE TABLE bare.{table} (LIKE {table})".encode())
                rows[table] = connection.execute(f"SELECT * FROM {table}".encode()).fetchall()
            began = time.monotonic()
            for number in range(transactions):
                with connection.transaction(), connection.cursor() as cursor:
                    for table, table_rows in rows.items():
                        with cursor.copy(f"COPY bare.{table} FROM STDIN".encode()) as copy:
                            for row in table_rows[number::transactions]:
                                copy.write_row(row)
            took = time.monotonic() - began
        return len(rows["callbacks"]) / took
