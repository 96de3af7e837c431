"""What beat shows: what is in Redis and PostgreSQL, the same from wherever it is read, and therefore from one place."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from shared import catalogue, inbox, metrics
from shared.catalogue import Metric
from shared.errors import Unavailable
from shared.inbox import APPENDED, COUNTERS, REPEAT, Backlog, Inbox, RedisUnavailable, Snapshot
from shared.metrics import Labels
from shared.outcomes import Outcome
from shared.payload.notes import UNDOCUMENTED
from workers.database import REFUSALS, Database

Values = Mapping[Labels, float]


class Figures(Collector):
    """Reads both whenever it is asked. Of a Redis that does not answer nothing is shown but that.

    Whoever asks gives up after a while, and has no figures then, not even of what is away. So no one waits here until a
    server that hangs is given up: a late answer counts as none.
    """

    def __init__(self, found: Inbox, database: Database, answer_seconds: float) -> None:
        """`answer_seconds`: how long PostgreSQL, and all of Redis, may take."""
        self._inbox = found
        self._database = database
        self._answer_seconds = answer_seconds
        self._asker = ThreadPoolExecutor(1, "figures")
        self._asked: Future[bool] | None = None

    def collect(self) -> Iterator[Family]:
        backlogs = dict(self._backlogs())
        snapshot = None
        if len(backlogs) == len(self._inbox.shards):
            with suppress(RedisUnavailable):
                snapshot = self._inbox.snapshot()
        shown: dict[Metric, Values] = {
            catalogue.BUILD_INFO: metrics.build_info(),
            catalogue.REDIS_UP: {(): float(snapshot is not None)},
            catalogue.POSTGRES_UP: {(): float(self._is_postgres_up())},
            catalogue.SHARD_OLDEST_SECONDS: {(number,): each.oldest_seconds for number, each in backlogs.items()},
        }
        if snapshot is not None:
            shown |= figures_of(snapshot, inbox.merged_backlog([*backlogs.values()]))
        for metric, values in shown.items():
            yield metrics.family(metric, values)

    def _backlogs(self) -> Iterator[tuple[str, Backlog]]:
        """Of each shard that answers in time, by its number."""
        ends = time.monotonic() + self._answer_seconds
        for shard in self._inbox.shards:
            if time.monotonic() > ends:
                return
            with suppress(RedisUnavailable):
                yield str(shard.names.number), inbox.backlog(shard)

    def _is_postgres_up(self) -> bool:
        if self._asked is None or self._asked.done():
            self._asked = self._asker.submit(self._ask)
        try:
            return self._asked.result(self._answer_seconds)
        except TimeoutError:
            return False

    def _ask(self) -> bool:
        try:
            self._database.ask(lambda connection: connection.execute(b"SELECT"))
        except (Unavailable, *REFUSALS):
            return False
        return True


def figures_of(snapshot: Snapshot, backlog: Backlog) -> dict[Metric, Values]:
    """What the inbox reports about itself, and about each source that it or a worker knows."""
    known = {*(snapshot.notes.sources or ()), *snapshot.ledger, *snapshot.heard, *snapshot.spooled, *snapshot.holds}
    known |= snapshot.quarantine.keys()
    sources = sorted(known)
    return {
        catalogue.DURABLE: {(): float(not snapshot.unmet and not snapshot.ingress_unmet)},
        **_of_inbox(snapshot, backlog),
        **_of_ledger(snapshot, sources),
        **_of_sources(snapshot, sources),
        **_of_processes(snapshot),
    }


def _of_inbox(snapshot: Snapshot, backlog: Backlog) -> dict[Metric, Values]:
    return {
        catalogue.INBOX_CALLBACKS: {(): snapshot.depth.entries},
        catalogue.INBOX_UNREAD_CALLBACKS: {(): backlog.unread},
        catalogue.INBOX_OLDEST_SECONDS: {(): backlog.oldest_seconds},
        catalogue.INBOX_HELD_CALLBACKS: {(): backlog.held.entries},
        catalogue.INBOX_HELD_OLDEST_SECONDS: {(): backlog.held.oldest_seconds},
        catalogue.SHARD_CALLBACKS: {(str(number),): depth.entries for number, depth in snapshot.shards.items()},
        catalogue.LEDGER_DIFFERENCE: {(): snapshot.difference},
        catalogue.LOST: {(): snapshot.notes.lost},
        catalogue.REPAIRED: {(): snapshot.notes.repaired},
    }


def _of_ledger(snapshot: Snapshot, sources: list[str]) -> dict[Metric, Values]:
    """What the ledger counts. It has the present outcomes, and a counter may not fall: a replay is another counter."""
    nothing = dict.fromkeys(COUNTERS, 0)
    appended: dict[Labels, float] = {}
    repeats: dict[Labels, float] = {}
    outcomes: dict[Labels, float] = {}
    replayed: dict[Labels, float] = {}
    for source in sources:
        counts = snapshot.ledger.get(source, nothing)
        changes = snapshot.replayed.get(source, {})
        appended[source,] = counts[APPENDED]
        repeats[source,] = counts[REPEAT]
        for outcome in Outcome:
            came, left = changes.get(f"to:{outcome}", 0), changes.get(f"from:{outcome}", 0)
            outcomes[source, outcome] = counts[outcome] - came + left
            replayed[source, outcome] = came
    return {
        catalogue.APPENDED: appended,
        catalogue.REPEATS: repeats,
        catalogue.CALLBACKS: outcomes,
        catalogue.REPLAYED: replayed,
    }


def _of_sources(snapshot: Snapshot, sources: list[str]) -> dict[Metric, Values]:
    open_dead_letters = snapshot.notes.open_dead_letters
    oddities: Counter[Labels] = Counter()
    for source, counts in snapshot.oddities.items():
        for what, count in counts.items():
            oddities[source, _without_name(what)] += count
    found: dict[Metric, Values] = {
        catalogue.ODDITIES: oddities,
        catalogue.SPOOLED_CALLBACKS: {(source,): snapshot.spooled.get(source, 0) for source in sources},
        catalogue.SOURCE_HELD: {(source,): float(source in snapshot.holds) for source in sources},
        catalogue.QUARANTINE_REQUESTS: _refused(snapshot, sources, "requests"),
        catalogue.QUARANTINE_BYTES: _refused(snapshot, sources, "bytes"),
        catalogue.SOURCE_LAST_CALLBACK: {(source,): snapshot.heard.get(source, 0.0) for source in sources},
    }
    if open_dead_letters is not None:
        every = sorted({*sources, *open_dead_letters})
        found[catalogue.DEAD_LETTERS_OPEN] = {(source,): open_dead_letters.get(source, 0) for source in every}
    return found


def _of_processes(snapshot: Snapshot) -> dict[Metric, Values]:
    found = snapshot.processes
    refused = Counter((each.role,) for each in found if each.has_refused)
    return {
        catalogue.CONFIGURATION_PROCESSES: Counter((each.role, each.configuration) for each in found),
        catalogue.CONFIGURATION_REFUSED_PROCESSES: {(role,): refused[role,] for role in catalogue.ROLES},
    }


def _refused(snapshot: Snapshot, sources: list[str], what: str) -> Values:
    return {(source,): snapshot.quarantine.get(source, {}).get(what, 0) for source in sources}


def _without_name(oddity: str) -> str:
    """The oddity without the name of a field, which its sender chose (`callbox status` has it)."""
    return UNDOCUMENTED if oddity.startswith(f"{UNDOCUMENTED} ") else oddity
