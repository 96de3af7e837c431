"""Which configuration each ingress and each worker has: their latest reports, for who looks from outside."""

import os
import socket
from collections.abc import Mapping

import msgspec

from shared.inbox.client import Shard
from shared.inbox.errors import or_unavailable
from shared.inbox.reports import Report, Reports

REPORT_SECONDS = 60.0  # between two reports of a process


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


REPORTS: Reports[Process] = Reports(Report[Process], 3 * REPORT_SECONDS)


@or_unavailable
def report_process(shard: Shard, process: Process) -> None:
    """Takes the place of this process's report before, and forgets processes that are gone. Raises RedisUnavailable."""
    REPORTS.write(shard, shard.names.processes, process.name, process)


@or_unavailable
def forget_process(shard: Shard, process: Process) -> None:
    """For a process that ends. Raises RedisUnavailable."""
    shard.hdel(shard.names.processes, process.name)


def processes_in(fields: Mapping[bytes, bytes], now: float) -> list[Process]:
    """Those whose reports still count, by their names."""
    return sorted(REPORTS.read(fields, now).values(), key=lambda process: process.name)
