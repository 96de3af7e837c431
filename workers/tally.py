"""What a worker counts for the metrics: each child on its own, and its parent, which shows them, for all of them.

A child sends what it has counted to its parent as a datagram, now and then and at the end of each run, and never waits
for that: what the parent does not take at once goes along with the next one. Counts in files of each child
(prometheus_client's own way) would have to outlive it, one file for each child that ever was.
"""

import socket
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from math import inf

import msgspec
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from shared import metrics
from shared.catalogue import BUILD_INFO, EVENTS, WORKER_CHILDREN, Kind, Metric, Place, metrics_of
from shared.metrics import Labels

HAND_OVER_SECONDS = 0.5  # between two hand-overs of a run: each costs the more, the more sources there are
SERIES_SENT = 200  # in one datagram, at most: some 100 bytes each
DATAGRAM_BYTES = 256 * 1024

# Of a counter or gauge its value; of a histogram how many fell into each bucket and behind the last one, and their sum.
_Values = list[float]
_Counted = list[tuple[str, Labels, _Values]]

_METRICS = {metric.name: metric for metric in metrics_of(Place.WORKER)}


class Tally:
    """What one process has counted since it last handed that over. Without a `parent` it keeps everything."""

    def __init__(self, parent: socket.socket | None = None) -> None:
        self._parent = parent
        self._handed_over_at = float("-inf")
        self._values: dict[tuple[Metric, Labels], _Values] = {}

    def add(self, metric: Metric, labels: Labels = (), amount: float = 1) -> None:
        """Raises a counter."""
        self._of(metric, labels)[0] += amount

    def set(self, metric: Metric, labels: Labels, value: float) -> None:
        """Sets a gauge: of several children, the one that reported last counts."""
        self._of(metric, labels)[0] = value

    def observe(self, metric: Metric, labels: Labels, found: Sequence[float]) -> None:
        """Adds values to a histogram. An end belongs to its bucket."""
        values = self._of(metric, labels)
        values[-1] += sum(found)
        in_order, below = sorted(found), 0
        while below < len(in_order):  # as often as there are buckets with something in them
            bucket = bisect_left(metric.buckets, in_order[below])
            end = metric.buckets[bucket] if bucket < len(metric.buckets) else inf
            reached = bisect_right(in_order, end, below)
            values[bucket] += reached - below
            below = reached

    def value(self, metric: Metric, *labels: str) -> Sequence[float]:
        """What was counted and not handed over yet, as it is kept; nothing is 0."""
        return self._values.get((metric, labels), _nothing(metric))

    def hand_over_if_due(self) -> None:
        """Sends to the parent what it takes now, if that is some time ago."""
        if time.monotonic() - self._handed_over_at >= HAND_OVER_SECONDS:
            self.hand_over()

    def hand_over(self) -> None:
        """Sends to the parent what it takes now."""
        self._handed_over_at = time.monotonic()
        if self._parent is None:
            return
        while self._values:
            some = list(islice(self._values, SERIES_SENT))
            counted = [(metric.name, labels, self._values[metric, labels]) for metric, labels in some]
            try:
                self._parent.send(_encode(counted))
            except OSError:  # it is busy, or gone
                return
            for key in some:
                del self._values[key]

    def _of(self, metric: Metric, labels: Labels) -> _Values:
        key = metric, labels
        values = self._values.get(key)
        if values is None:
            values = self._values[key] = _nothing(metric)
        return values


class Totals(Collector):
    """What all children of a worker have counted since it started; in their parent."""

    def __init__(self, sources: Sequence[str], count_children: Callable[[], int]) -> None:
        self._count_children = count_children
        self._lock = threading.Lock()
        self._values = {
            metric: {labels: _nothing(metric) for labels in metric.known(sources) if _occurs(metric, labels)}
            for metric in _METRICS.values()
        }
        self._receiver, self.sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sender.setblocking(False)

    def start(self) -> None:
        """From now on a thread takes what is sent to `sender`."""
        threading.Thread(target=self._receive, name="totals", daemon=True).start()

    def take(self, counted: _Counted) -> None:
        """Adds what one child has counted."""
        with self._lock:
            for name, labels, values in counted:
                metric = _METRICS[name]
                known = self._values[metric]
                so_far = known.get(labels)
                if so_far is None or metric.kind is Kind.GAUGE:
                    known[labels] = values
                else:
                    known[labels] = [value + more for value, more in zip(so_far, values, strict=True)]

    def collect(self) -> Iterator[Family]:
        with self._lock:
            found = {metric: dict(values) for metric, values in self._values.items()}
        found[BUILD_INFO] = {labels: [value] for labels, value in metrics.build_info().items()}
        found[WORKER_CHILDREN] = {(): [self._count_children()]}
        for metric, values in found.items():
            if metric.kind is Kind.HISTOGRAM:
                yield metrics.histogram_family(metric, values)
            else:
                yield metrics.family(metric, {labels: value for labels, (value,) in values.items()})

    def _receive(self) -> None:
        while datagram := self._receiver.recv(DATAGRAM_BYTES):
            with suppress(msgspec.MsgspecError):
                self.take(_decode(datagram))


def _nothing(metric: Metric) -> _Values:
    return [0.0] * (len(metric.buckets) + 2 if metric.kind is Kind.HISTOGRAM else 1)


def _occurs(metric: Metric, labels: Labels) -> bool:
    """Whether there is such a series: an inbound message has no status, and a delivery report always has one."""
    if metric is not EVENTS:
        return True
    _, kind, status = labels
    return (kind == "mo") == (status == "")


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Counted).decode
