"""The catalogue of metrics: every one of them, as data.

The processes make their metrics of these definitions (`shared/metrics.py`), and `deploy/reference.py` makes
docs/metrics.md of them. A label has fixed words, or names what the operator configured; nothing in one comes from a
request (promise P7).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import get_args

from shared.events import Intent, Status
from shared.outcomes import Outcome, Stage
from shared.signing import Reason

SOURCES: Sequence[str] = ("*",)  # in the place of a label's words: every configured source is one
ROLES: Sequence[str] = ("ingress", "worker")  # of processes that have the sources
OPEN: Sequence[str] = ()  # its words are not known before, and few: see the metric's meaning


class Kind(StrEnum):
    """What Prometheus may do with a metric."""

    COUNTER = "counter"  # only rises, until its process starts again
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Place(StrEnum):
    """Which processes have a metric."""

    EVERY = "every process"
    INGRESS = "each ingress"
    WORKER = "each worker"
    BEAT = "beat"


class Over(StrEnum):
    """How the values of several instances become one; between the processes of one host too."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"
    ONE = "one"  # one instance has it: what is in Redis or PostgreSQL is the same from wherever it is read


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """A definition. `labels` has the words of each label where they are fixed, and `buckets` the upper ends of those of
    a histogram. A counter of nothing yet is 0, not absent, for all words that are known."""

    name: str
    kind: Kind
    unit: str
    labels: Mapping[str, Sequence[str]]
    meaning: str
    place: Place
    over: Over
    buckets: Sequence[float] = ()

    def known(self, sources: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """The values of the labels of each series that is there from the start; none where a label is open."""
        return product(*(sources if words is SOURCES else words for words in self.labels.values()))

    @property
    def query(self) -> str:
        """What to ask Prometheus for the value over all instances, and for the rate of what rises."""
        over = Over.MAX if self.over is Over.ONE else self.over
        labels = [*(("le",) if self.kind is Kind.HISTOGRAM else ()), *self.labels]
        by = f" by ({', '.join(labels)})" if labels else ""
        match self.kind:
            case Kind.GAUGE:
                return f"{over}{by} ({self.name})" if by else f"{over}({self.name})"
            case Kind.COUNTER:
                rate = f"rate({self.name}[5m])"
                return f"{over}{by} ({rate})" if by else f"{over}({rate})"
            case Kind.HISTOGRAM:
                return f"histogram_quantile(0.99, {over}{by} (rate({self.name}_bucket[5m])))"


_NO_LABELS: Mapping[str, Sequence[str]] = {}
_SOURCE: Mapping[str, Sequence[str]] = {"source": SOURCES}


# Of every process

BUILD_INFO = Metric(
    "callbox_build_info",
    Kind.GAUGE,
    "1",
    {"version": OPEN, "python": OPEN},
    "1; its labels have the release of Callbox and the version of Python",
    Place.EVERY,
    Over.MAX,
)

# Of each ingress

REQUESTS = Metric(
    "callbox_requests_total",
    Kind.COUNTER,
    "requests",
    {
        "source": SOURCES,
        "outcome": (
            *("accepted", "rejected", "not_found", "wrong_method", "too_large", "encoding", "incomplete", "timeout"),
            *("head_too_large", "bad_request", "gone", "unavailable"),
        ),
    },
    "Requests to /callbacks/, by how they ended. `gone`: the caller hung up; `bad_request`: not HTTP/1.x;"
    " `unavailable`: our failure. `source` is empty where no source is known",
    Place.INGRESS,
    Over.SUM,
)
REFUSALS = Metric(
    "callbox_refusals_total",
    Kind.COUNTER,
    "requests",
    {"source": SOURCES, "reason": ("address_unknown", "address_not_allowed", *get_args(Reason))},
    "Requests that could not prove where they come from (outcome `rejected`), by the reason",
    Place.INGRESS,
    Over.SUM,
)
QUARANTINE_KEPT = Metric(
    "callbox_quarantine_kept_total",
    Kind.COUNTER,
    "requests",
    _SOURCE,
    "Refused requests that were put into the quarantine, see `callbox refused list`",
    Place.INGRESS,
    Over.SUM,
)
QUARANTINE_DROPPED = Metric(
    "callbox_quarantine_dropped_total",
    Kind.COUNTER,
    "requests",
    {"source": SOURCES, "reason": ("rate", "redis", "age", "room", "memory")},
    "Refused requests that are not in the quarantine: not kept because of `rate` (more than an ingress keeps in a"
    " second) or `redis` (away); removed because of `age` or `room` (of the source); or either because of `memory` (of"
    " all sources, or Redis is nearly full)",
    Place.INGRESS,
    Over.SUM,
)
PROOFS = Metric(
    "callbox_proofs_total",
    Kind.COUNTER,
    "callbacks",
    {"source": SOURCES, "proof": OPEN},
    "Accepted callbacks by what proved them: `token`, `unsigned`, or a secret by its name in callbox_secret_info",
    Place.INGRESS,
    Over.SUM,
)
SECRET_INFO = Metric(
    "callbox_secret_info",
    Kind.GAUGE,
    "1",
    {"source": SOURCES, "proof": OPEN, "position": ("newest", "older")},
    "1 for each secret of a source, by its name in callbox_proofs_total. An older one may go when its count is at rest",
    Place.INGRESS,
    Over.MAX,
)
ACKNOWLEDGE_SECONDS = Metric(
    "callbox_acknowledge_seconds",
    Kind.HISTOGRAM,
    "seconds",
    _SOURCE,
    "From the end of a callback's body to its acknowledgement, durable commit included",
    Place.INGRESS,
    Over.SUM,
    (0.001, 0.002, 0.003, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
GROUP_SIZE = Metric(
    "callbox_group_callbacks",
    Kind.HISTOGRAM,
    "callbacks",
    _NO_LABELS,
    "Callbacks that shared one append and one fsync",
    Place.INGRESS,
    Over.SUM,
    (1, 2, 5, 10, 20, 50, 100, 200, 500),
)
CONNECTIONS = Metric(
    "callbox_open_connections",
    Kind.GAUGE,
    "connections",
    _NO_LABELS,
    "Connections of callers that are open",
    Place.INGRESS,
    Over.SUM,
)
CONNECTIONS_REFUSED = Metric(
    "callbox_connections_refused_total",
    Kind.COUNTER,
    "connections",
    {"limit": ("all", "address")},
    "Connections closed as soon as they came, by the limit that was reached: of all of them, or of one address",
    Place.INGRESS,
    Over.SUM,
)
CONNECTIONS_ENDED = Metric(
    "callbox_connections_ended_total",
    Kind.COUNTER,
    "connections",
    {"why": ("head", "body", "idle", "answer", "memory", "stop")},
    "Connections ended by us, by what took too long or too much. `answer`: the caller did not read it; `memory`: of all"
    " unfinished requests; `stop`: the ingress stops",
    Place.INGRESS,
    Over.SUM,
)
INGRESS_UNMET = Metric(
    "callbox_ingress_unmet_demands",
    Kind.GAUGE,
    "demands",
    {"what": ("redis", "spool")},
    "What an ingress found about Redis and the spool that breaks a promise, as it looks every minute; its log and"
    " /readyz have the sentences",
    Place.INGRESS,
    Over.MAX,
)
INGRESS_REDIS_UP = Metric(
    "callbox_ingress_redis_up",
    Kind.GAUGE,
    "1 or 0",
    _NO_LABELS,
    "1 while Redis takes the callbacks of an ingress, 0 while they go to the spool",
    Place.INGRESS,
    Over.MIN,
)
CONFIRMING = Metric(
    "callbox_confirming_replicas",
    Kind.GAUGE,
    "replicas",
    {"shard": OPEN},
    "Replicas of Redis that confirmed the latest append, where CALLBOX_REDIS_WAIT_REPLICAS is set; `shard` is a number",
    Place.INGRESS,
    Over.MIN,
)
SPOOL_CALLBACKS = Metric(
    "callbox_spool_callbacks",
    Kind.GAUGE,
    "callbacks",
    _NO_LABELS,
    "Callbacks in the spool files of an ingress, which knows them also while Redis is away",
    Place.INGRESS,
    Over.SUM,
)
SPOOL_OLDEST_SECONDS = Metric(
    "callbox_spool_oldest_seconds",
    Kind.GAUGE,
    "seconds",
    _NO_LABELS,
    "Age of the oldest callback in the spool files of an ingress; 0 without one",
    Place.INGRESS,
    Over.MAX,
)

# Of each worker: its parent process shows them, with the counts of its children

DRAINS = Metric(
    "callbox_drains_total",
    Kind.COUNTER,
    "drains",
    {"end": ("empty", "time", "stopping", "postgresql", "redis", "failed")},
    "Drains, each of one shard, by what ended them: the inbox was empty, their time was up, the worker stops,"
    " PostgreSQL or Redis did not answer, or a failure of ours",
    Place.WORKER,
    Over.SUM,
)
BATCH_SECONDS = Metric(
    "callbox_batch_seconds",
    Kind.HISTOGRAM,
    "seconds",
    _NO_LABELS,
    "From the first statement of a batch to its acknowledgement in the inbox, waits for PostgreSQL included",
    Place.WORKER,
    Over.SUM,
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
BATCH_CALLBACKS = Metric(
    "callbox_batch_callbacks",
    Kind.HISTOGRAM,
    "callbacks",
    _NO_LABELS,
    "Callbacks that were stored in one transaction",
    Place.WORKER,
    Over.SUM,
    (1, 2, 5, 10, 20, 50, 100, 200, 500),
)
STORED_SECONDS = Metric(
    "callbox_stored_seconds",
    Kind.HISTOGRAM,
    "seconds",
    _SOURCE,
    "From the arrival of a callback to its commit in PostgreSQL",
    Place.WORKER,
    Over.SUM,
    (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800, 21600),
)
PROVIDER_DELAY_SECONDS = Metric(
    "callbox_provider_delay_seconds",
    Kind.HISTOGRAM,
    "seconds",
    _SOURCE,
    "From the provider's own time of an event to the arrival of its callback, where it names one; a time in the future"
    " counts as 0",
    Place.WORKER,
    Over.SUM,
    (0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21600, 86400),
)
EVENTS = Metric(
    "callbox_events_total",
    Kind.COUNTER,
    "events",
    {"source": SOURCES, "kind": ("mo", "dr"), "status": ("", *Status)},
    "Events of the callbacks that brought something new. `kind` is `mo` or `dr`; `status` is that of a delivery report"
    " (`dr`), and empty for an inbound message (`mo`)",
    Place.WORKER,
    Over.SUM,
)
INTENTS = Metric(
    "callbox_intents_total",
    Kind.COUNTER,
    "messages",
    {"source": SOURCES, "intent": tuple(Intent)},
    "Inbound messages of the callbacks that brought something new, by what their text asks for",
    Place.WORKER,
    Over.SUM,
)
DUPLICATES = Metric(
    "callbox_duplicates_total",
    Kind.COUNTER,
    "callbacks",
    _SOURCE,
    "Callbacks that brought only events that were stored before",
    Place.WORKER,
    Over.SUM,
)
CONFLICTS = Metric(
    "callbox_conflicts_total",
    Kind.COUNTER,
    "callbacks",
    _SOURCE,
    "Callbacks that brought an event stored before, with another content (`callbox conflicts`)",
    Place.WORKER,
    Over.SUM,
)
DEAD_LETTERS = Metric(
    "callbox_dead_letters_total",
    Kind.COUNTER,
    "dead letters",
    {"source": SOURCES, "stage": tuple(Stage)},
    "Dead letters made, by where the callback or the event failed",
    Place.WORKER,
    Over.SUM,
)
WORKER_CHILDREN = Metric(
    "callbox_worker_children",
    Kind.GAUGE,
    "processes",
    _NO_LABELS,
    "Processes of a worker that drain",
    Place.WORKER,
    Over.SUM,
)
WORKER_UNMET = Metric(
    "callbox_worker_unmet_demands",
    Kind.GAUGE,
    "demands",
    {"what": ("redis", "postgresql")},
    "What a worker found about Redis and PostgreSQL that breaks a promise, as it looks every minute; its log, and"
    " /readyz of an ingress, have the sentences",
    Place.WORKER,
    Over.MAX,
)

# Of beat: what is in Redis and PostgreSQL. While Redis does not answer, what is in it is absent

REDIS_UP = Metric(
    "callbox_redis_up",
    Kind.GAUGE,
    "1 or 0",
    _NO_LABELS,
    "1 when every Redis of the inbox answered",
    Place.BEAT,
    Over.ONE,
)
POSTGRES_UP = Metric(
    "callbox_postgres_up", Kind.GAUGE, "1 or 0", _NO_LABELS, "1 when PostgreSQL answered", Place.BEAT, Over.ONE
)
DURABLE = Metric(
    "callbox_durable",
    Kind.GAUGE,
    "1 or 0",
    _NO_LABELS,
    "1 while no process has found a demand on Redis, a spool or PostgreSQL unmet, as each looks every minute: what is"
    " acknowledged is as durable as promised",
    Place.BEAT,
    Over.ONE,
)
INBOX_CALLBACKS = Metric(
    "callbox_inbox_callbacks",
    Kind.GAUGE,
    "callbacks",
    _NO_LABELS,
    "Callbacks in the inbox, not stored yet; those of held sources too",
    Place.BEAT,
    Over.ONE,
)
INBOX_UNREAD_CALLBACKS = Metric(
    "callbox_inbox_unread_callbacks",
    Kind.GAUGE,
    "callbacks",
    _NO_LABELS,
    "Callbacks in the inbox that no worker has taken yet (the lag)",
    Place.BEAT,
    Over.ONE,
)
INBOX_OLDEST_SECONDS = Metric(
    "callbox_inbox_oldest_seconds",
    Kind.GAUGE,
    "seconds",
    _NO_LABELS,
    "Age of the oldest callback in the inbox whose source is not held; 0 without one",
    Place.BEAT,
    Over.ONE,
)
INBOX_HELD_CALLBACKS = Metric(
    "callbox_inbox_held_callbacks",
    Kind.GAUGE,
    "callbacks",
    _NO_LABELS,
    "Callbacks in the inbox that were set aside because their source is held",
    Place.BEAT,
    Over.ONE,
)
INBOX_HELD_OLDEST_SECONDS = Metric(
    "callbox_inbox_held_oldest_seconds",
    Kind.GAUGE,
    "seconds",
    _NO_LABELS,
    "Age of the oldest callback in the inbox that was set aside because its source is held; 0 without one",
    Place.BEAT,
    Over.ONE,
)
SHARD_CALLBACKS = Metric(
    "callbox_shard_callbacks",
    Kind.GAUGE,
    "callbacks",
    {"shard": OPEN},
    "Callbacks in a shard of the inbox; `shard` is a number",
    Place.BEAT,
    Over.ONE,
)
SHARD_OLDEST_SECONDS = Metric(
    "callbox_shard_oldest_seconds",
    Kind.GAUGE,
    "seconds",
    {"shard": OPEN},
    "Age of the oldest callback in a shard whose source is not held; 0 without one",
    Place.BEAT,
    Over.ONE,
)
LEDGER_DIFFERENCE = Metric(
    "callbox_ledger_difference_callbacks",
    Kind.GAUGE,
    "callbacks",
    _NO_LABELS,
    "Callbacks in the inbox, less those that must be there by the ledger: not 0 when something broke",
    Place.BEAT,
    Over.ONE,
)
LOST = Metric(
    "callbox_lost_total",
    Kind.COUNTER,
    "callbacks",
    _NO_LABELS,
    "Callbacks that Redis had taken and lost, by a failover without CALLBOX_REDIS_WAIT_REPLICAS for example; those that"
    " workers had stored before are in PostgreSQL",
    Place.BEAT,
    Over.ONE,
)
REPAIRED = Metric(
    "callbox_repaired_total",
    Kind.COUNTER,
    "callbacks",
    _NO_LABELS,
    "Inbox entries found neither pending nor unread, and made pending again",
    Place.BEAT,
    Over.ONE,
)
APPENDED = Metric(
    "callbox_appended_total",
    Kind.COUNTER,
    "callbacks",
    _SOURCE,
    "Callbacks appended to the inbox, by the ledger",
    Place.BEAT,
    Over.ONE,
)
REPEATS = Metric(
    "callbox_repeats_total",
    Kind.COUNTER,
    "callbacks",
    _SOURCE,
    "Callbacks appended again, since the first answer was lost",
    Place.BEAT,
    Over.ONE,
)
CALLBACKS = Metric(
    "callbox_callbacks_total",
    Kind.COUNTER,
    "callbacks",
    {"source": SOURCES, "outcome": tuple(Outcome)},
    "Callbacks that are in PostgreSQL, by the outcome that each had at first",
    Place.BEAT,
    Over.ONE,
)
REPLAYED = Metric(
    "callbox_replayed_total",
    Kind.COUNTER,
    "callbacks",
    {"source": SOURCES, "outcome": tuple(Outcome)},
    "Callbacks to which a replay gave another outcome, by this one",
    Place.BEAT,
    Over.ONE,
)
ODDITIES = Metric(
    "callbox_oddities_total",
    Kind.COUNTER,
    "oddities",
    {"source": SOURCES, "what": OPEN},
    "What was odd in callbacks: something was repaired, contradicted itself, was not documented, or conflicted with an"
    " event stored before. Rising counts mean that a provider changed its format. `what` is a phrase of ours; `other`"
    " is the sum of the kinds beyond the first 100 of a source and the first 20 of a callback",
    Place.BEAT,
    Over.ONE,
)
SPOOLED_CALLBACKS = Metric(
    "callbox_spooled_callbacks",
    Kind.GAUGE,
    "callbacks",
    _SOURCE,
    "Callbacks in the spools of all ingresses, as these last reported to Redis",
    Place.BEAT,
    Over.ONE,
)
SOURCE_HELD = Metric(
    "callbox_source_held",
    Kind.GAUGE,
    "1 or 0",
    _SOURCE,
    "1 for a source that no worker drains because we fail on it, see `callbox status`",
    Place.BEAT,
    Over.ONE,
)
SOURCE_LAST_CALLBACK = Metric(
    "callbox_source_last_callback_timestamp_seconds",
    Kind.GAUGE,
    "seconds since 1970",
    _SOURCE,
    "When the latest callback of a source was appended to the inbox; 0 where none ever was",
    Place.BEAT,
    Over.ONE,
)
CONFIGURATION_PROCESSES = Metric(
    "callbox_configuration_processes",
    Kind.GAUGE,
    "processes",
    {"role": ROLES, "configuration": OPEN},
    "Processes by the configuration of the sources that they have, as last reported. With more than one some were not"
    " asked to read callbox.toml again, or could not",
    Place.BEAT,
    Over.ONE,
)
CONFIGURATION_REFUSED_PROCESSES = Metric(
    "callbox_configuration_refused_processes",
    Kind.GAUGE,
    "processes",
    {"role": ROLES},
    "Processes that found a mistake in callbox.toml when they read it last, see their logs",
    Place.BEAT,
    Over.ONE,
)
QUARANTINE_REQUESTS = Metric(
    "callbox_quarantine_requests",
    Kind.GAUGE,
    "requests",
    _SOURCE,
    "Refused requests in the quarantine",
    Place.BEAT,
    Over.ONE,
)
QUARANTINE_BYTES = Metric(
    "callbox_quarantine_bytes",
    Kind.GAUGE,
    "bytes",
    _SOURCE,
    "What refused requests take of Redis's memory, about",
    Place.BEAT,
    Over.ONE,
)
DEAD_LETTERS_OPEN = Metric(
    "callbox_dead_letters_open",
    Kind.GAUGE,
    "dead letters",
    _SOURCE,
    "Dead letters that wait to be replayed or discarded, as PostgreSQL had them a minute ago at most",
    Place.BEAT,
    Over.ONE,
)

CATALOGUE: Sequence[Metric] = tuple(each for each in list(globals().values()) if isinstance(each, Metric))


def metrics_of(place: Place) -> list[Metric]:
    """What a process of this place has."""
    return [metric for metric in CATALOGUE if metric.place in (place, Place.EVERY)]
