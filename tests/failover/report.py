"""What the runs found, for people: a summary, and docs/failover.md."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.failover.controls import Controls
from tests.failover.measured import LOST, Measured, in_seconds
from tests.failover.run import Wanted
from tests.failover.topology import TOPOLOGIES

VERDICTS = (LOST, "doubled", "wrong")
_HEADINGS = (
    *("what happens", "runs", "callbacks sent", "503", "unanswered", "another primary after", "without Redis"),
    *("drain paused", "through the spool", "repeats", "lost / doubled / wrong"),
)
_TITLES = {
    "sentinel": "A primary and two replicas, watched by three Sentinels",
    "cluster": "A Cluster of three primaries with a replica each, and a Redis beside it as broker",
    "postgres": "PostgreSQL with a synchronous standby, and one Redis",
}


@dataclass
class Report:
    """All that was measured."""

    wanted: Wanted
    measured: Sequence[Measured]

    @property
    def may_lose(self) -> bool:
        """Whether nobody promised that nothing is lost: what only a dead primary had is gone."""
        return self.wanted.wait_replicas == 0

    @property
    def kept(self) -> bool:
        return bool(self.measured) and all(each.is_kept(self.may_lose) for each in self.measured)

    def summary(self) -> str:
        """The count, for people."""
        lines = [f"{self._count()}: {self._verdict()}"]
        lines += [f"  {each.topology}, {each.name}: {each.error}" for each in self.measured if each.error]
        if self.may_lose:
            lines.append(
                "no replica was waited for: what only a dead primary had may be lost, and callbox status says so"
            )
        lines.append("every promise kept" if self.kept else "PROMISES BROKEN")
        return "\n".join(lines)

    def document(self, controls: Controls) -> str:
        """docs/failover.md."""
        wanted = self.wanted
        command = f"--seed {wanted.seed} --runs {wanted.runs}"
        if wanted.each:
            command += f" --each {wanted.each}"
        if wanted.topologies != TOPOLOGIES:
            command += f" --topology {' '.join(wanted.topologies)}"
        machine = f"{platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}"
        return _DOCUMENT.format(
            command=f'make failover ARGS="{command}"',
            seed=self.wanted.seed,
            runs=self.wanted.runs,
            rate=f"{self.wanted.rate:g}",
            replicas=self.wanted.wait_replicas,
            count=self._count(),
            verdict=self._verdict(),
            tables="\n\n".join(self._tables()),
            controls=controls.paragraphs,
            settings=", ".join(f"`{name}={value}`" for name, value in self.wanted.settings.items()) or "the defaults",
            machine=machine,
        )

    def _count(self) -> str:
        sent, accepted, rows = (
            sum(number(each) for each in self.measured)
            for number in (lambda each: len(each.answers), lambda each: each.accepted, lambda each: each.rows)
        )
        return f"{len(self.measured)} failures, {sent} callbacks sent, {accepted} acknowledged, {rows} in `callbacks`"

    def _verdict(self) -> str:
        found = {what: sum(len(each.verdict.get(what, ())) for each in self.measured) for what in VERDICTS}
        return ", ".join(f"{count} {what}" for what, count in found.items())

    def _tables(self) -> Iterable[str]:
        for topology, title in _TITLES.items():
            if rows := _by_name(each for each in self.measured if each.topology == topology):
                table = [_HEADINGS, ["---"] * len(_HEADINGS), *(_row(name, each) for name, each in rows.items())]
                lines = "\n".join("| " + " | ".join(row) + " |" for row in table)
                yield f"## {title}\n\n{lines}"


def _by_name(measured: Iterable[Measured]) -> Mapping[str, Sequence[Measured]]:
    """Those beside which a process was killed are one row."""
    found: dict[str, list[Measured]] = {}
    for each in measured:
        name = "one of these, and kill -9 of a process of Callbox" if ", and kill -9" in each.name else each.name
        found.setdefault(name, []).append(each)
    return dict(sorted(found.items(), key=lambda item: item[0].startswith("one of")))


def _row(name: str, measured: Sequence[Measured]) -> list[str]:
    return [
        name,
        f"{len(measured)}",
        _middle(len(each.answers) for each in measured),
        _middle(each.count(503) for each in measured),
        _middle(each.count(0) for each in measured),
        _time(each.replaced for each in measured),
        _time(each.without_redis for each in measured),
        _time(each.drain_pause for each in measured),
        _middle(each.spooled for each in measured),
        _middle(each.repeats for each in measured),
        " / ".join(f"{sum(len(each.verdict.get(what, ())) for each in measured)}" for what in VERDICTS),
    ]


def _middle(counts: Iterable[int]) -> str:
    return f"{median(counts):.0f}"


def _time(times: Iterable[float | None]) -> str:
    """The median, and the longest."""
    known = [time for time in times if time is not None]
    if not known:
        return "–"
    return in_seconds(median(known)) + (f" (≤ {in_seconds(max(known))})" if len(known) > 1 else "")


_DOCUMENT = """# Failover

Written by `{command}`; a seed repeats a run's choices, not its timing. Two ingresses with addresses and spools of
their own, two workers and beat serve {rate} signed callbacks a second of every provider, with repeats, garbage and
receipts out of order, while each of these happens. A callback that one ingress does not accept is sent to the other
one, unless its provider sends only once. After each failure, what was acknowledged is counted against `callbacks`, and
events and deliveries against a reference computed from what was sent; the difference of the ledger must be 0.

**{runs} runs with the seed {seed}: {count}: {verdict}.**

Every Redis has the settings of `deploy/docker/redis.conf` (`appendonly yes`, `appendfsync always`), and a callback is
acknowledged by Redis once this number of replicas has it on disk too: `CALLBOX_REDIS_WAIT_REPLICAS={replicas}`.

{tables}

Counts are medians of the runs, times are medians with the longest in brackets. *Another primary after* is the time
from the failure until the Sentinels, the Cluster or the operator have another primary. *Without Redis* is the time in
which one ingress (that with more of it) acknowledged nothing from Redis: most of what it acknowledged came from its
spool, or it acknowledged nothing. *Drain paused* is the longest time between two commits of callbacks. What went
through the spool and was in Redis nevertheless is a *repeat*. Sentinels call a primary down after 2 s, a Cluster after
1.5 s.

On a Cluster, a new primary has no replica that confirms until the old one is back. With one shard everything goes to
the spool for so long, and is drained from Redis nevertheless; with three, the ingresses append to the others.

{controls}

Settings of Callbox: {settings}.

Machine: {machine}.
"""
