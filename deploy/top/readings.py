"""One reading of everything that `callbox top` shows: Redis, PostgreSQL, and what each ingress counts of itself."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.error import URLError

import psycopg
from prometheus_client.parser import text_string_to_metric_families

from deploy.pages import read_page
from deploy.system import System
from deploy.text import first_line
from shared.inbox import Inbox, RedisUnavailable, Snapshot
from workers.queries import Queries

ANSWER_SECONDS = 2.0  # longest wait for an ingress

_REQUESTS, _ACKNOWLEDGED = "callbox_requests", "callbox_acknowledge_seconds"
_OUR_WORDS = ("accepted", "unavailable")  # outcomes of requests that are no refusal

Histogram = Mapping[float, float]  # upper bound in seconds → how many acknowledgements took no longer


class InboxReading(NamedTuple):
    """`workers`: seconds since each worker last used the inbox. `memory`: bytes used and the most, of each Redis."""

    snapshot: Snapshot
    workers: Mapping[str, float]
    memory: Sequence[tuple[int, int]]
    seconds: float


class DatabaseReading(NamedTuple):
    """`dead_letters`: the open ones of each source."""

    dead_letters: Mapping[str, int]
    connections: int
    seconds: float


class IngressReading(NamedTuple):
    """What the processes behind one address have counted since they began, by source."""

    refused: Mapping[str, float]
    acknowledged: Mapping[str, Histogram]


class Reading(NamedTuple):
    """Everything at one moment: `at` on a clock that only goes forward. A sentence in the place of what is away."""

    at: float
    now: datetime
    inbox: InboxReading | str
    database: DatabaseReading | str
    ingresses: Mapping[str, IngressReading | str]


class Reader:
    """Reads again and again, over connections that it keeps."""

    def __init__(self, system: System, inbox: Inbox, ingress_urls: Sequence[str]) -> None:
        self._system = system
        self._inbox = inbox
        self._urls = ingress_urls
        self._queries: Queries | None = None

    def read(self) -> Reading:
        """Never raises for what is away. Raises ConfigError."""
        return Reading(
            time.monotonic(),
            datetime.now(UTC),
            self._read_inbox(),
            self._read_database(),
            {url: read_ingress(url) for url in self._urls},
        )

    def close(self) -> None:
        if self._queries is not None:
            self._queries.close()
            self._queries = None

    def _read_inbox(self) -> InboxReading | str:
        began = time.monotonic()
        try:
            snapshot = self._inbox.snapshot()
            seconds = time.monotonic() - began
            return InboxReading(snapshot, self._inbox.workers(), self._inbox.memory(), seconds)
        except RedisUnavailable as error:
            return str(error)

    def _read_database(self) -> DatabaseReading | str:
        try:
            self._queries = self._queries or self._system.queries()
            began = time.monotonic()
            dead_letters = self._queries.open_dead_letters()
            seconds = time.monotonic() - began
            return DatabaseReading(dead_letters, self._queries.connections(), seconds)
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedFunction):
            return "not migrated: run `callbox migrate`"
        except psycopg.Error as error:
            with suppress(psycopg.Error):
                self.close()
            self._queries = None
            return f"does not answer ({first_line(error)})"


@contextmanager
def reading(system: System, ingress_urls: Sequence[str]) -> Iterator[Callable[[], Reading]]:
    """What reads everything, again and again. Raises ConfigError."""
    with system.inbox() as inbox:
        reader = Reader(system, inbox, ingress_urls)
        try:
            yield reader.read
        finally:
            reader.close()


def read_ingress(url: str) -> IngressReading | str:
    """What the ingress at this address counts; a sentence if it does not answer."""
    try:
        return counted_in(read_page(f"{url.rstrip('/')}/metrics", ANSWER_SECONDS).decode())
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return f"does not answer ({getattr(reason, 'strerror', None) or reason})"


def counted_in(text: str) -> IngressReading:
    """The counts in Prometheus's text format. Raises ValueError."""
    refused: defaultdict[str, float] = defaultdict(float)
    acknowledged: defaultdict[str, dict[float, float]] = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            source = sample.labels.get("source", "")
            if sample.name == f"{_REQUESTS}_total" and sample.labels["outcome"] not in _OUR_WORDS:
                refused[source] += sample.value
            elif sample.name == f"{_ACKNOWLEDGED}_bucket":
                acknowledged[source][float(sample.labels["le"])] = sample.value
    return IngressReading(refused, acknowledged)
