"""What becomes of readings: rates over the last seconds, and what each source and each part does now."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from deploy.top.readings import DatabaseReading, Histogram, InboxReading, IngressReading, Reading
from shared.inbox import APPENDED, REPEAT
from shared.outcomes import Outcome

WINDOW_SECONDS = 10.0  # rates and percentiles are those of this time
QUANTILE = 0.99


class SourceLine(NamedTuple):
    """A source now. None: not known. `silent`: since its latest callback; None also before the first."""

    source: str
    per_second: float | None
    p99_seconds: float | None
    refused_per_second: float | None
    dead_letters: int | None
    is_held: bool
    silent: timedelta | None


class Part(NamedTuple):
    """A part of the system in one line."""

    name: str
    sentence: str
    is_well: bool = True


class View(NamedTuple):
    """All that a page shows: the sources that get most come first."""

    now: datetime
    parts: Sequence[Part]
    sources: Sequence[SourceLine]


class State:
    """Remembers the readings of the last seconds."""

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque()

    def after(self, reading: Reading) -> View:
        """What there is to see after this reading, by those before it."""
        self._readings.append(reading)
        while len(self._readings) > 2 and reading.at - self._readings[1].at >= WINDOW_SECONDS:
            self._readings.popleft()
        before = self._readings[0]
        sources = [self._line(name, before, reading) for name in _names(reading)]
        sources.sort(key=lambda line: (-(line.per_second or 0.0), line.source))
        return View(reading.now, list(_parts(before, reading)), sources)

    def _line(self, name: str, before: Reading, reading: Reading) -> SourceLine:
        inbox = reading.inbox if isinstance(reading.inbox, InboxReading) else None
        database = reading.database if isinstance(reading.database, DatabaseReading) else None
        heard_at = None if inbox is None else inbox.snapshot.heard.get(name)
        return SourceLine(
            name,
            _rate(_appended(before), _appended(reading), name, reading.at - before.at),
            quantile(_acknowledged(before, name), _acknowledged(reading, name), QUANTILE),
            _rate(_refused(before), _refused(reading), name, reading.at - before.at),
            None if database is None else database.dead_letters.get(name, 0),
            inbox is not None and name in inbox.snapshot.holds,
            None if heard_at is None else max(reading.now - datetime.fromtimestamp(heard_at, UTC), timedelta(0)),
        )


def quantile(before: Histogram, after: Histogram, share: float) -> float | None:
    """Within how many seconds this share of what came between two readings of a histogram was done; None if nothing
    came. Between two bounds it is taken as evenly spread; beyond the last one it is that bound."""
    counts = {bound: count - before.get(bound, 0.0) for bound, count in sorted(after.items())}
    total = max(counts.values(), default=0.0)
    if total <= 0:
        return None
    lower, below = 0.0, 0.0
    for bound, count in counts.items():
        if count >= share * total:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (share * total - below) / max(count - below, 1e-9)
        lower, below = bound, count
    return lower


def _names(reading: Reading) -> list[str]:
    names: set[str] = set()
    if isinstance(reading.inbox, InboxReading):
        snapshot = reading.inbox.snapshot
        names |= {*(snapshot.notes.sources or ()), *snapshot.ledger, *snapshot.spooled, *snapshot.holds}
    if isinstance(reading.database, DatabaseReading):
        names |= reading.database.dead_letters.keys()
    names |= (_refused(reading) or {}).keys()
    return sorted(names - {""})


def _appended(reading: Reading) -> Mapping[str, int] | None:
    if isinstance(reading.inbox, str):
        return None
    return {source: counts[APPENDED] - counts[REPEAT] for source, counts in reading.inbox.snapshot.ledger.items()}


def _refused(reading: Reading) -> Mapping[str, float] | None:
    known = _answering(reading)
    counts: Counter[str] = Counter()
    for ingress in known:
        counts.update(ingress.refused)
    return counts if known else None


def _acknowledged(reading: Reading, name: str) -> Histogram:
    counts: Counter[float] = Counter()
    for ingress in _answering(reading):
        counts.update(ingress.acknowledged.get(name, {}))
    return counts


def _answering(reading: Reading) -> list[IngressReading]:
    return [ingress for ingress in reading.ingresses.values() if isinstance(ingress, IngressReading)]


def _rate(
    before: Mapping[str, float] | None, after: Mapping[str, float] | None, name: str, seconds: float
) -> float | None:
    """What was counted in a second; None where one of both is not known. A count that began anew counts from 0."""
    if before is None or after is None or seconds <= 0:
        return None
    difference = after.get(name, 0) - before.get(name, 0)
    return (difference if difference >= 0 else after.get(name, 0)) / seconds


def _parts(before: Reading, reading: Reading) -> Iterator[Part]:
    inbox = reading.inbox
    if isinstance(inbox, str):
        yield Part("inbox", "not known, Redis is away", False)
    else:
        snapshot, depth = inbox.snapshot, inbox.snapshot.depth
        stored = _rate(_stored(before), _stored(reading), "", reading.at - before.at)
        rate = "" if stored is None else f", {stored:,.1f} stored a second"
        yield Part("inbox", f"{depth.entries:,} wait, the oldest for {depth.oldest_seconds:,.1f} s{rate}")
        spooled = sum(snapshot.spooled.values())
        yield Part("spool", f"{spooled:,} wait on the disks of ingresses", not spooled)
        active = min(inbox.workers.values(), default=None)
        sentence = "none has been seen" if active is None else f"{len(inbox.workers)}, last active {active:,.0f} s ago"
        yield Part("workers", sentence, active is not None)
    yield _database_part(reading)
    if isinstance(inbox, str):
        yield Part("Redis", inbox, False)
    else:
        memory = ", ".join(_memory(used, most) for used, most in inbox.memory)
        yield Part("Redis", f"answers in {inbox.seconds * 1000:,.1f} ms, {memory}")
    for url, ingress in reading.ingresses.items():
        if isinstance(ingress, str):
            yield Part("ingress", f"{url} {ingress}", False)


def _database_part(reading: Reading) -> Part:
    found = reading.database
    if isinstance(found, str):
        return Part("PostgreSQL", found, False)
    return Part("PostgreSQL", f"answers in {found.seconds * 1000:,.1f} ms, {found.connections} connections")


def _stored(reading: Reading) -> Mapping[str, int] | None:
    if isinstance(reading.inbox, str):
        return None
    return {"": sum(counts[what] for counts in reading.inbox.snapshot.ledger.values() for what in Outcome)}


def _memory(used: int, most: int) -> str:
    return f"{used / 1e6:,.0f} MB" + (f" of {most / 1e6:,.0f} MB" if most else "")
