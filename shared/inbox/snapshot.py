"""The inbox seen from outside: depth, ledger and holds at one moment."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from shared.inbox.client import Shard, text_of
from shared.inbox.clock import appended_seconds, seconds_of
from shared.inbox.errors import or_unavailable
from shared.inbox.holds import Hold, records_in
from shared.inbox.keys import APPENDED, COUNTERS, REPEAT, Keys
from shared.inbox.notes import Notes, merged_notes, notes_in
from shared.inbox.processes import Process, processes_in
from shared.inbox.unmet import Unmet, reports_in
from shared.outcomes import Outcome

Counts = Mapping[str, Mapping[str, int]]  # source → what → how many


class Depth(NamedTuple):
    """How much waits in the inbox: entries, and the age of the oldest in seconds (0 when empty)."""

    entries: int
    oldest_seconds: float


class Snapshot(NamedTuple):
    """The inbox at one moment: everything in it was read in one step."""

    depth: Depth
    ledger: Counts  # by the names in COUNTERS
    oddities: Counts
    spooled: Mapping[str, int]  # source → callbacks in the spools of all ingresses, as last reported
    holds: Mapping[str, Hold] = {}
    replayed: Mapping[str, Mapping[str, int]] = {}  # source → `from:` or `to:` and outcome
    notes: Notes = Notes()
    unmet: Mapping[str, Unmet] = {}  # host of workers → what its servers do not meet of Callbox's demands
    shards: Mapping[int, Depth] = {}
    ingress_unmet: Mapping[str, Unmet] = {}  # the same of hosts of ingresses
    heard: Mapping[str, float] = {}  # source → when its latest callback was appended (seconds of the Unix epoch)
    quarantine: Mapping[str, Mapping[str, int]] = {}  # source → `requests` and `bytes` of what it refused, and is kept
    processes: Sequence[Process] = ()  # that have the sources, as last reported

    @property
    def difference(self) -> int:
        """How many entries more wait in the inbox than the ledger has; 0 unless something broke."""
        return self.depth.entries - sum(map(pending_in, self.ledger.values()))


def pending_in(counts: Mapping[str, int]) -> int:
    """What must wait in the inbox, by the ledger of a source."""
    return counts[APPENDED] - counts[REPEAT] - sum(counts[outcome] for outcome in Outcome)


@or_unavailable
def take_snapshot(shard: Shard) -> Snapshot:
    """The inbox at this moment. Raises RedisUnavailable."""
    with shard.pipeline() as pipe:
        queue_reads(pipe, shard.names)
        return snapshot_in(pipe.execute(), shard.names.number)


def queue_reads(pipe: Any, names: Keys) -> None:
    """Queues in a pipeline what `snapshot_in` needs to know."""
    pipe.time()
    pipe.xlen(names.inbox)
    pipe.xrange(names.inbox, count=1)
    pipe.hgetall(names.ledger)
    pipe.hgetall(names.oddities)
    pipe.hvals(names.spools)
    pipe.hgetall(names.holds)
    pipe.hgetall(names.replayed)
    pipe.hgetall(names.notes)
    pipe.hgetall(names.unmet)
    pipe.hgetall(names.ingress_unmet)
    pipe.hgetall(names.heard)
    pipe.hgetall(names.quarantine)
    pipe.hgetall(names.processes)


def snapshot_in(answers: Sequence[Any], number: int) -> Snapshot:
    """The snapshot of the shard of this number in the answers to `queue_reads`, which are in its order."""
    time, entries, first, counts, odd, spools, holds, replayed, *later = answers
    notes, unmet, ingress_unmet, heard, quarantine, processes = later
    oldest = max(0.0, seconds_of(time) - appended_seconds(first[0][0])) if first else 0.0
    ledger = {source: {**dict.fromkeys(COUNTERS, 0), **counts} for source, counts in _by_source(counts).items()}
    spooled: Counter[str] = Counter()
    for spool in spools:
        spooled.update(msgspec.json.decode(spool, type=dict[str, int]))
    held = records_in(holds).held
    depth = Depth(entries, oldest)
    return Snapshot(
        depth,
        ledger,
        _by_source(odd),
        spooled,
        held,
        _by_source(replayed),
        notes_in(notes),
        reports_in(unmet, seconds_of(time)),
        {number: depth},
        reports_in(ingress_unmet, seconds_of(time)),
        {text_of(source): int(at) / 1000 for source, at in heard.items()},
        _by_source(quarantine),
        processes_in(processes, seconds_of(time)),
    )


def merged(snapshots: Sequence[Snapshot]) -> Snapshot:
    """Several shards as one; at least one."""
    first, *others = snapshots
    for other in others:
        first = Snapshot(
            Depth(
                first.depth.entries + other.depth.entries,
                max(first.depth.oldest_seconds, other.depth.oldest_seconds),
            ),
            _sum(first.ledger, other.ledger),
            _sum(first.oddities, other.oddities),
            Counter(first.spooled) + Counter(other.spooled),
            {**other.holds, **first.holds},
            _sum(first.replayed, other.replayed),
            merged_notes(first.notes, other.notes),
            {**other.unmet, **first.unmet},
            {**first.shards, **other.shards},
            {**other.ingress_unmet, **first.ingress_unmet},
            {
                source: max(each.heard.get(source, 0.0) for each in (first, other))
                for source in {**first.heard, **other.heard}
            },
            _sum(first.quarantine, other.quarantine),
            [*first.processes, *other.processes],
        )
    return first


def _sum(counts: Counts, others: Counts) -> Counts:
    found = {source: dict(whats) for source, whats in counts.items()}
    for source, whats in others.items():
        sums = found.setdefault(source, {})
        for what, count in whats.items():
            sums[what] = sums.get(what, 0) + count
    return found


def _by_source(counts: Mapping[bytes, bytes]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for field, count in counts.items():
        source, _, what = field.decode(errors="replace").partition(":")
        found.setdefault(source, {})[what] = int(count)
    return found
