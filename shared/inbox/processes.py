"""Which configuration each ingress and each worker has: their latest reports, for who looks from outside."""

import os
import socket
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from shared.inbox.client import Shard
from shared.inbox.clock import seconds_of
from shared.inbox.errors import or_unavailable
from shared.inbox.keys import script

REPORT_SECONDS = 60.0  # between two reports of a process
_COUNTS_SECONDS = 3 * REPORT_SECONDS  # a report that was not repeated for so long is of a process that is gone


class Process(msgspec.Struct, frozen=True):
    """One process: `ingress` or `worker`, where it runs, the fingerprint of the sources that it has, and whether the
    last file that it read had a mistake."""

    role: str
    configuration: str
    has_refused: bool = False
    host: str = msgspec.field(default_factory=socket.gethostname)
    pid: int = msgspec.field(default_factory=os.getpid)

    @property
    def name(self) -> str:
        """What distinguishes it from every other process."""
        return f"{self.role} {self.pid} on {self.host}"


class _Report(msgspec.Struct, frozen=True):
    at: float
    process: Process


@or_unavailable
def report_process(shard: Shard, process: Process) -> None:
    """Takes the place of this process's report before, and forgets processes that are gone. Raises RedisUnavailable."""
    at = seconds_of(shard.time())
    fields: Any = shard.hgetall(shard.names.processes)
    if gone := [name for name, report in _reports(fields) if not _counts(report, at)]:
        shard.hdel(shard.names.processes, *gone)
    report = msgspec.json.encode(_Report(at, process))
    shard.register_script(script("note"))(keys=[shard.names.processes], args=["HSET", process.name, report])


@or_unavailable
def forget_process(shard: Shard, process: Process) -> None:
    """For a process that ends. Raises RedisUnavailable."""
    shard.hdel(shard.names.processes, process.name)


def processes_in(fields: Mapping[bytes, bytes], now: float) -> list[Process]:
    """Those whose reports still count, by their names."""
    found = [report.process for _, report in _reports(fields) if _counts(report, now)]
    return sorted(found, key=lambda process: process.name)


def _reports(fields: Mapping[bytes, bytes]) -> Iterable[tuple[bytes, _Report]]:
    return ((name, msgspec.json.decode(report, type=_Report)) for name, report in fields.items())


def _counts(report: _Report, now: float) -> bool:
    return now - report.at <= _COUNTS_SECONDS
