"""One row of docs/hostile.md: what was measured beside one client, and which criteria it misses."""

import math
from collections import Counter
from dataclasses import dataclass, field

from tests.hostile.client import Client
from tests.hostile.got import Got
from tests.hostile.system import deadline_seconds
from tests.load.client import Answer

MEGABYTE = 1_000_000
RETURN_BYTES = 10 * MEGABYTE  # memory is back when it is within this of what it was before
HIGHEST_BYTES = 64 * MEGABYTE  # memory is never further than this above what it was before
RATIO = 3.0  # of honest p99 with the attack, to without
P99_SECONDS = 0.05  # or this
LOG_BYTES = 100_000  # that one client may cause within a minute
DEADLINE_MARGIN_SECONDS = 2.5  # a connection may stay open so much longer than its deadline


@dataclass(frozen=True)
class Latency:
    """Of honest callbacks, in seconds, from when each was due."""

    p50: float
    p99: float

    @classmethod
    def of(cls, answers: list[Answer]) -> "Latency":
        seconds = sorted(answer.seconds for answer in answers) or [math.nan]
        return cls(seconds[len(seconds) // 2], seconds[math.ceil(len(seconds) * 0.99) - 1])


@dataclass
class Row:
    """What one client did, or several together."""

    name: str
    clients: list[Client]
    seconds: float
    memory: dict[str, tuple[int, int, int]]  # of each ingress in bytes: before, highest, after
    without: Latency
    during: Latency
    honest: list[Answer]
    got: dict[str, Got]  # by the client's name
    new_connection: str  # what a connection that was opened during the attack got
    log_bytes: int
    log_errors: "Counter[str]"
    most_connections: int
    longest_seconds: float
    ended: list[str]
    tries: int = 1
    more: list[str] = field(default_factory=list)  # what else is wrong

    @property
    def ratio(self) -> float:
        return self.during.p99 / self.without.p99

    def line(self) -> str:
        """For whoever watches a run."""
        highest = max(self.memory.values(), key=lambda first_and_last: first_and_last[1] - first_and_last[0])
        memory = " → ".join(f"{size / MEGABYTE:.0f}" for size in highest)
        latency = f"p99 {1000 * self.without.p99:.1f} → {1000 * self.during.p99:.1f} ms"
        connections = f"{self.most_connections} connections, {self.longest_seconds:.0f} s"
        got = "; ".join(str(got) for got in self.got.values())
        verdict = "; ".join(self.misses()) or "ok"
        return f"{self.name} | {memory} MB | {latency} | {connections} | {got} | {self.new_connection} | {verdict}"

    def misses(self) -> list[str]:
        """The criteria that it misses, each with its figure; empty when it meets all."""
        return [*self.slow(), *self._memory(), *self._honest(), *self._attackers(), *self._log(), *self.more]

    def keeps(self) -> bool:
        """Whether the ingresses still hold what they took."""
        return any(after > before + RETURN_BYTES for before, _, after in self.memory.values())

    def slow(self) -> list[str]:
        if self.during.p99 <= max(P99_SECONDS, RATIO * self.without.p99):
            return []
        return [f"honest p99 {1000 * self.during.p99:.0f} ms, {self.ratio:.1f} × without"]

    def _memory(self) -> list[str]:
        found = [f"{name} ended" for name in self.ended]
        for name, (before, highest, after) in self.memory.items():
            if highest > before + HIGHEST_BYTES:
                found.append(f"{name} rose by {(highest - before) / MEGABYTE:.0f} MB")
            if after > before + RETURN_BYTES:
                found.append(f"{name} keeps {(after - before) / MEGABYTE:.0f} MB")
        return found

    def _honest(self) -> list[str]:
        failed = Counter(str(answer.status or answer.error) for answer in self.honest if not 200 <= answer.status < 300)
        found = [f"{count} honest callbacks got {what}" for what, count in failed.items()]
        may_fail = any(client.may_fill for client in self.clients)
        if not may_fail and not self.new_connection.startswith("2"):
            found.append(f"a new connection got {self.new_connection}")
        return found

    def _attackers(self) -> list[str]:
        found = []
        for client in self.clients:
            got = self.got[client.name]
            problems = [client.expect(got)] if client.expect else []
            if got.ids and not client.may_accept:
                problems.append(f"{len(got.ids)} accepted without proof")
            if wrong := got.of_status(500, 599):
                problems.append(f"{wrong} × 5XX")
            problems.append(got.error)
            found += [
                f"{client.name}: {problem}" if len(self.clients) > 1 else problem for problem in problems if problem
            ]
        if (allowed := self.allowed_seconds()) is not None and self.longest_seconds > allowed:
            found.append(f"a connection stayed open for {self.longest_seconds:.0f} s, allowed {allowed:g} s")
        return found

    def allowed_seconds(self) -> float | None:
        """How long a connection may stay open; None when there is no limit, or the attack was too short to show it."""
        if not all(client.ends for client in self.clients):
            return None
        allowed = max(deadline_seconds(client.ends) for client in self.clients) + DEADLINE_MARGIN_SECONDS
        return allowed if self.seconds > allowed else None

    def _log(self) -> list[str]:
        found = [f"logged {count} ×: {line}" for line, count in self.log_errors.most_common(3)]
        if self.log_bytes > LOG_BYTES * len(self.clients) * max(1.0, self.seconds / 60):
            found.append(f"{self.log_bytes / 1000:.0f} KB of log")
        return found
