"""What an ingress counts, and how `/metrics` shows it.

With `PROMETHEUS_MULTIPROC_DIR` set before this is imported, the counts of several processes of one host add up.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric as Family
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from shared import catalogue, metrics
from shared.fingerprint import secret_labels
from shared.source import Source

_OWN = metrics.Registry()

REQUESTS = _OWN.counter(catalogue.REQUESTS)
REFUSALS = _OWN.counter(catalogue.REFUSALS)
QUARANTINE_KEPT = _OWN.counter(catalogue.QUARANTINE_KEPT)
QUARANTINE_DROPPED = _OWN.counter(catalogue.QUARANTINE_DROPPED)
PROOFS = _OWN.counter(catalogue.PROOFS)
ACKNOWLEDGE_SECONDS = _OWN.histogram(catalogue.ACKNOWLEDGE_SECONDS)
GROUP_SIZE = _OWN.histogram(catalogue.GROUP_SIZE)
CONNECTIONS = _OWN.gauge(catalogue.CONNECTIONS)
CONNECTIONS_REFUSED = _OWN.counter(catalogue.CONNECTIONS_REFUSED)
CONNECTIONS_ENDED = _OWN.counter(catalogue.CONNECTIONS_ENDED)
UNMET = _OWN.gauge(catalogue.INGRESS_UNMET)
REDIS_UP = _OWN.gauge(catalogue.INGRESS_REDIS_UP)
CONFIRMING = _OWN.gauge(catalogue.CONFIRMING)
SPOOL_CALLBACKS = _OWN.gauge(catalogue.SPOOL_CALLBACKS)
SPOOL_OLDEST_SECONDS = _OWN.gauge(catalogue.SPOOL_OLDEST_SECONDS)
BUILD_INFO = _OWN.gauge(catalogue.BUILD_INFO)


def begin(sources: Sequence[str]) -> None:
    """Has every series of these sources from the start."""
    _OWN.begin(sources)
    for labels, value in metrics.build_info().items():
        BUILD_INFO.labels(*labels).set(value)


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


def render(sources: Iterable[Source] = ()) -> bytes:
    """All metrics of this process, or of all that add up with it, in Prometheus's text format; `sources` are those that
    this process serves."""
    processes: CollectorRegistry = _OWN
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        processes = CollectorRegistry()
        _Processes(processes)
    return generate_latest(processes) + generate_latest(_Secrets(sources))


class _Processes(MultiProcessCollector):
    """Those of `PROMETHEUS_MULTIPROC_DIR`. A process that was killed as it began may have left an empty file, at which
    prometheus_client would fail for good."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)  # type: ignore[no-untyped-call]

    def collect(self) -> Any:
        files = [str(file) for file in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("*.db") if _has_begun(file)]
        return self.merge(files)  # type: ignore[no-untyped-call]


def _has_begun(file: Path) -> bool:
    with suppress(FileNotFoundError):
        return file.stat().st_size > 0
    return False


class _Secrets(Collector):
    """The secrets of these sources. One that is gone is not shown, as a gauge in a shared folder would be."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Family]:
        yield metrics.family(
            catalogue.SECRET_INFO,
            {
                (source.name, proof, "older" if number else "newest"): 1.0
                for source in self._sources
                for number, proof in enumerate(dict.fromkeys(secret_labels(source)))
            },
        )
