"""Every metric: name, unit, labels, meaning. `/metrics` shows them all.

With `PROMETHEUS_MULTIPROC_DIR` set before this is imported, the counts of several processes of one host add up;
what is in Redis (the ledger) is the same from wherever it is read.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from shared.inbox import APPENDED, REPEAT, Snapshot
from shared.outcomes import Outcome

_OWN = CollectorRegistry()

REQUESTS = Counter(
    "callbox_requests_total",
    "Requests to /callbacks/, by their end: accepted, rejected, not_found, wrong_method, too_large, encoding, "
    "incomplete, timeout, head_too_large, bad_request (not HTTP/1.1), gone (the caller hung up) or unavailable; source "
    "is empty where no source is known",
    ["source", "outcome"],
    registry=_OWN,
)
REFUSALS = Counter(
    "callbox_refusals_total", "Requests that could not prove where they come from", ["source", "reason"], registry=_OWN
)
PROOFS = Counter(
    "callbox_proofs_total",
    "Accepted callbacks by what proved them; secret-1 is the newest, so an old one that stays at rest may go",
    ["source", "proof"],
    registry=_OWN,
)
ACKNOWLEDGE_SECONDS = Histogram(
    "callbox_acknowledge_seconds",
    "From the end of the body to the acknowledgement, durable commit included",
    ["source"],
    buckets=(0.001, 0.002, 0.003, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    registry=_OWN,
)
GROUP_SIZE = Histogram(
    "callbox_group_callbacks",
    "Callbacks that shared one append and one fsync",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
    registry=_OWN,
)
CONNECTIONS = Gauge(
    "callbox_open_connections", "Connections of callers that are open", registry=_OWN, multiprocess_mode="livesum"
)
CONNECTIONS_REFUSED = Counter(
    "callbox_connections_refused_total",
    "Connections closed as soon as they came, by the limit that was reached: all or address",
    ["limit"],
    registry=_OWN,
)
CONNECTIONS_ENDED = Counter(
    "callbox_connections_ended_total",
    "Connections ended by us, by what took too long or too much: head, body, idle, answer (it was not read), memory "
    "(of unfinished requests) or stop",
    ["why"],
    registry=_OWN,
)
UNMET = Gauge(
    "callbox_ingress_unmet_demands",
    "What the ingress found about redis and spool that breaks a promise, see its log and /readyz; checked every minute",
    ["what"],
    registry=_OWN,
    multiprocess_mode="livemax",
)


CONFIRMING = Gauge(
    "callbox_confirming_replicas",
    "Replicas of Redis that confirmed the latest append, where CALLBOX_REDIS_WAIT_REPLICAS is set; the fewest of all "
    "ingress processes",
    ["shard"],
    registry=_OWN,
    multiprocess_mode="livemin",
)


class InboxCollector(Collector):
    """Depth, age, ledger and oddities of the inbox, as read just before; None when Redis did not answer."""

    def __init__(self, snapshot: Snapshot | None) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("callbox_redis_up", "1 when Redis answered", value=float(self._snapshot is not None))
        if self._snapshot is not None:
            yield from _of_inbox(self._snapshot)
            yield from _of_ledger(self._snapshot)
            yield from _of_sources(self._snapshot)


def _of_inbox(snapshot: Snapshot) -> Iterator[Metric]:
    depth = snapshot.depth
    yield GaugeMetricFamily("callbox_inbox_callbacks", "Callbacks that wait for a worker", value=depth.entries)
    yield GaugeMetricFamily(
        "callbox_inbox_oldest_seconds", "Age of the oldest callback that waits", value=depth.oldest_seconds
    )
    yield GaugeMetricFamily(
        "callbox_ledger_difference_callbacks",
        "Callbacks in the inbox, less those that must be there by the ledger: not 0 when something broke",
        value=snapshot.difference,
    )
    yield CounterMetricFamily(
        "callbox_lost",
        "Callbacks that Redis had taken and lost, by a failover without CALLBOX_REDIS_WAIT_REPLICAS for example; those "
        "that workers had stored before are in PostgreSQL",
        value=snapshot.notes.lost,
    )
    shards = GaugeMetricFamily("callbox_shard_callbacks", "Callbacks that wait in a shard", labels=["shard"])
    oldest = GaugeMetricFamily("callbox_shard_oldest_seconds", "Age of the oldest of them", labels=["shard"])
    for number, found in snapshot.shards.items():
        shards.add_metric([str(number)], found.entries)
        oldest.add_metric([str(number)], found.oldest_seconds)
    yield from (shards, oldest)
    yield CounterMetricFamily(
        "callbox_repaired",
        "Inbox entries found neither pending nor unread, and made pending again",
        value=snapshot.notes.repaired,
    )
    demands = GaugeMetricFamily(
        "callbox_worker_unmet_demands",
        "What the workers of a host found about redis and postgresql that breaks a promise, see /readyz",
        labels=["host", "what"],
    )
    for host, unmet in snapshot.unmet.items():
        for what, sentences in unmet.items():
            demands.add_metric([host, what], len(sentences))
    yield demands


def _of_ledger(snapshot: Snapshot) -> Iterator[Metric]:
    """What the ledger counts. It has the present outcomes, and a counter may not fall: a replay is another counter."""
    appended = CounterMetricFamily("callbox_appended", "Callbacks appended to the inbox", labels=["source"])
    repeats = CounterMetricFamily(
        "callbox_repeats", "Callbacks appended again, since the first answer was lost", labels=["source"]
    )
    outcomes = CounterMetricFamily(
        "callbox_callbacks",
        "Callbacks that are in PostgreSQL, by the outcome that each had at first",
        labels=["source", "outcome"],
    )
    replayed = CounterMetricFamily(
        "callbox_replayed", "Callbacks to which a replay gave another outcome", labels=["source", "outcome"]
    )
    for source, counts in snapshot.ledger.items():
        appended.add_metric([source], counts[APPENDED])
        repeats.add_metric([source], counts[REPEAT])
        changes = snapshot.replayed.get(source, {})
        for outcome in Outcome:
            came, left = changes.get(f"to:{outcome}", 0), changes.get(f"from:{outcome}", 0)
            outcomes.add_metric([source, outcome], counts[outcome] - came + left)
            replayed.add_metric([source, outcome], came)
    yield from (appended, repeats, outcomes, replayed)


def _of_sources(snapshot: Snapshot) -> Iterator[Metric]:
    odd = CounterMetricFamily(
        "callbox_oddities",
        "Callbacks in which something was repaired, contradicted itself, was not documented or conflicted with an "
        "event stored before: rising counts mean that a provider changed its format; other is the sum of the kinds "
        "beyond the first 100 of a source and the first 20 of a callback",
        labels=["source", "what"],
    )
    for source, counts in snapshot.oddities.items():
        for what, count in counts.items():
            odd.add_metric([source, what], count)
    spooled = GaugeMetricFamily(
        "callbox_spooled_callbacks", "Callbacks in the spools of the ingresses, on disk there", labels=["source"]
    )
    for source, count in snapshot.spooled.items():
        spooled.add_metric([source], count)
    held = GaugeMetricFamily(
        "callbox_source_held", "1 for a source that no worker drains, see `callbox status`", labels=["source"]
    )
    for source in snapshot.holds:
        held.add_metric([source], 1)
    dead = GaugeMetricFamily(
        "callbox_dead_letters_open",
        "Dead letters that wait to be replayed or discarded, as PostgreSQL had them a minute ago at most",
        labels=["source"],
    )
    unsettled = snapshot.notes.open_dead_letters
    if unsettled is not None:
        for source in snapshot.ledger.keys() | unsettled.keys():
            dead.add_metric([source], unsettled.get(source, 0))
    yield from (odd, spooled, held, dead)


def forget_dead_processes() -> None:
    """Takes the gauges of processes that are gone out of the sum of `PROMETHEUS_MULTIPROC_DIR`; counters stay."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    for file in Path(folder).glob("gauge_live*_*.db") if folder else ():
        pid = file.stem.rpartition("_")[2]
        if pid.isdecimal() and not _is_alive(int(pid)):
            mark_process_dead(int(pid), folder)  # type: ignore[no-untyped-call]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def render(snapshot: Snapshot | None) -> bytes:
    """All metrics in Prometheus's text format 0.0.4."""
    processes = _OWN
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        processes = CollectorRegistry()
        MultiProcessCollector(processes)  # type: ignore[no-untyped-call]
    inbox = CollectorRegistry(auto_describe=False)
    inbox.register(InboxCollector(snapshot))
    return generate_latest(processes) + generate_latest(inbox)
