"""docs/hostile.md, and the summary for whoever runs it."""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

from tests.hostile import honest
from tests.hostile.count import Count
from tests.hostile.fuzz import Found
from tests.hostile.instances import Check
from tests.hostile.oracle import RULES
from tests.hostile.row import HIGHEST_BYTES, LOG_BYTES, MEGABYTE, P99_SECONDS, RATIO, RETURN_BYTES, Row
from tests.hostile.system import SETTINGS, settings
from tests.hostile.watch import SAMPLE_SECONDS

PACKAGES = ("uvicorn", "httptools", "uvloop", "starlette", "redis", "pyjwt")
HEADINGS = (
    "client", "memory: before → highest → after (MB)", "honest p50", "honest p99: without → with (ms)", "ratio",
    "connections, longest", "what it got", "a new connection got", "log", "verdict",
)  # fmt: skip


@dataclass
class Report:
    """What a run found."""

    seed: int
    seconds: float
    requests: int
    rows: list[Row]
    fuzzed: Found | None
    checks: list[Check]
    count: Count
    took_seconds: float

    def misses(self) -> Iterator[str]:
        """A line for each criterion that something misses."""
        for row in self.rows:
            yield from (f"{row.name}: {miss}" for miss in row.misses())
        for check in self.checks:
            yield from (f"{check.name}: {miss}" for miss in check.misses)
        yield from self.count.wrong

    def summary(self) -> str:
        misses = list(self.misses())
        kinds = self.fuzzed.kinds if self.fuzzed else {}
        findings = self.fuzzed.findings if self.fuzzed else []
        return "\n".join(
            [
                self._counted(),
                *(f"  fuzzer: {number} × {kind}" for kind, number in kinds.items()),
                *(f"  fuzzer: {finding}" for finding in findings),
                *(f"  MISSED {miss}" for miss in misses),
                f"{len(misses)} criteria missed" if misses else "every criterion met",
            ]
        )

    def _counted(self) -> str:
        return f"{self.count.acknowledged} callbacks acknowledged, {self.count.rows} in `callbacks`"

    def document(self) -> str:
        """docs/hostile.md."""
        misses = list(self.misses())
        table = [HEADINGS, ["---"] * len(HEADINGS), *(_cells(row) for row in self.rows)]
        unknown = SETTINGS.keys() - settings().keys()
        shortened = ", ".join(f"`{name}={value}`" for name, value in settings().items())
        return _DOCUMENT.format(
            seed=self.seed,
            requests=self.requests,
            verdict=f"{len(misses)} criteria missed" if misses else "every criterion met",
            counted=self._counted(),
            wrong="".join(f"\n- {line}" for line in self.count.wrong) or " Nothing is missing, and the ledger adds up.",
            rate=f"{honest.PER_SECOND:g}",
            seconds=f"{self.seconds:g}",
            sample=f"{1000 * SAMPLE_SECONDS:g}",
            back=RETURN_BYTES // MEGABYTE,
            highest=HIGHEST_BYTES // MEGABYTE,
            ratio=f"{RATIO:g}",
            p99=f"{1000 * P99_SECONDS:g}",
            log=LOG_BYTES // 1000,
            settings=shortened,
            unknown=f" This version has no {', '.join(sorted(unknown))}." if unknown else "",
            rows="\n".join(f"| {' | '.join(cells)} |" for cells in table),
            checks="\n".join(_check(check) for check in self.checks) or "Not run.",
            clients="\n".join(f"- **{client.name}**: {client.sentence}" for row in self.rows for client in row.clients),
            fuzzer=self._fuzzer(),
            machine=_machine(),
            took=f"{self.took_seconds / 60:.0f}",
        )

    def _fuzzer(self) -> str:
        if self.fuzzed is None:
            return "Not run."
        found, done = self.fuzzed, self.fuzzed.done
        lines = [
            f"{found.requests} requests of seed {found.seed}: "
            + ", ".join(f"{number} × {word}" for word, number in found.outcomes.most_common())
            + f"; the slowest answer took {1000 * found.slowest_seconds:.0f} ms. The oracle (for {', '.join(RULES)}) "
            f"has judged {len(found.accepted)} acceptances, and each is looked up with its source, method and body.",
            "",
            "What was done to them, and how many of those were accepted: "
            + ", ".join(f"{name} {done[name]} ({found.accepted_done[name]})" for name in sorted(done))
            + ".",
        ]
        if found.not_judged:
            lines += ["", f"Without a rule, and so not judged: {dict(found.not_judged)}."]
        if found.kinds:
            lines += ["", *(f"- **{number} × {kind}**" for kind, number in found.kinds.most_common())]
        return "\n".join(lines)


def _cells(row: Row) -> list[str]:
    memory = max(row.memory.values(), key=lambda sizes: sizes[1] - sizes[0])
    without, during = row.without, row.during
    stays = row.most_connections and f"{row.most_connections}, {row.longest_seconds:.0f} s"
    return [
        row.name + (f" (try {row.tries})" if row.tries > 1 else ""),
        " → ".join(f"{size / MEGABYTE:.0f}" for size in memory),
        f"{1000 * without.p50:.1f} → {1000 * during.p50:.1f}",
        f"{1000 * without.p99:.1f} → {1000 * during.p99:.1f}",
        f"{row.ratio:.1f}",
        stays or "–",
        "; ".join(str(got) for got in row.got.values()),
        row.new_connection,
        f"{row.log_bytes / 1000:.0f} KB",
        "; ".join(f"**{miss}**" for miss in row.misses()) or "ok",
    ]


def _check(check: Check) -> str:
    verdict = "; ".join(f"**missed: {miss}**" for miss in check.misses) or "ok"
    return f"- **{check.name}**: {check.sentence} {'; '.join(check.seen)}. Verdict: {verdict}."


def _machine() -> str:
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    system = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
    return f"{system}, Python {platform.python_version()}, {versions}"


_DOCUMENT = """# Hostile clients

Written by `make hostile ARGS="--seed {seed} --seconds {seconds} --requests {requests}"` in {took} minutes; a seed
repeats a run's choices, not its timing. Two ingress processes of `callbox up` serve honest traffic: signed callbacks of
every provider, {rate}/s over open connections, in an open loop, so that latency counts from when a callback was due.
Beside it each hostile client attacks for {seconds} s from other addresses of this machine.

*Without* is measured in the seconds right before. *Memory* is the resident memory of the ingress that grew most: before
the attack, at its highest (a look every {sample} ms), and 5 s after its end, or when it was back, up to 10 s.
*Connections* are the most that the attackers had at once, and how long one stayed open at the longest, as the server
sees it. *What it got* counts status codes; `closed` and `reset` are connections that the server ended, `open at the
end` those that it did not. *A new connection* is an honest one, made in the middle of the attack.

A row is *ok* when memory came back within {back} MB of before and was never more than {highest} MB above it, honest p99
was at most {ratio} times that of without (or {p99} ms), every honest callback was accepted, the new connection was
served, nothing was accepted without proof, no answer was a 5XX, no connection outlived its deadline, and the log has no
error and at most {log} KB a minute. A row that missed only the latency was measured again (*try 2*), since other
processes share the machine.

**Seed {seed}: {verdict}. {counted}.**{wrong}

{rows}

## With a system of their own

{checks}

## The fuzzer

{fuzzer}

## The clients

{clients}

## Machine

{machine}.

Deadlines were short, so that a recovery is seen within seconds: {settings}.{unknown}
"""
