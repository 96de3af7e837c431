"""The ledger as people read it: what was accepted, and what became of it."""

from collections.abc import Mapping
from typing import NamedTuple

from shared.inbox.keys import APPENDED, COUNTERS, REPEAT
from shared.inbox.snapshot import Snapshot, pending_in
from shared.outcomes import Outcome


class Account(NamedTuple):
    """The ledger of one source, or of all: accepted is the sum of the others, ages aside."""

    accepted: int
    stored: int
    duplicates: int
    dead_letters: int
    ignored: int
    pending: int
    spooled: int
    oldest_pending_seconds: float


def accounts(snapshot: Snapshot, oldest: Mapping[str, float]) -> tuple[Account, dict[str, Account]]:
    """The ledger in all and per source; `oldest` is the age of the oldest entry that waits, by source."""
    none = dict.fromkeys(COUNTERS, 0)
    names = sorted(snapshot.ledger.keys() | snapshot.spooled.keys())
    sources = {
        name: _account(snapshot.ledger.get(name, none), snapshot.spooled.get(name, 0), oldest.get(name, 0.0))
        for name in names
    }
    total = {counter: sum(counts[counter] for counts in snapshot.ledger.values()) for counter in COUNTERS}
    return _account(total, sum(snapshot.spooled.values()), snapshot.depth.oldest_seconds), sources


def differences(snapshot: Snapshot, waiting: Mapping[str, int]) -> dict[str, int]:
    """By source, how many callbacks more wait in the inbox than the ledger has; without those where the two agree."""
    names = sorted(snapshot.ledger.keys() | waiting.keys())
    none = dict.fromkeys(COUNTERS, 0)
    found = {name: waiting.get(name, 0) - pending_in(snapshot.ledger.get(name, none)) for name in names}
    return {name: difference for name, difference in found.items() if difference}


def _account(counts: Mapping[str, int], spooled: int, oldest_seconds: float) -> Account:
    appended = counts[APPENDED] - counts[REPEAT]
    return Account(
        accepted=appended + spooled,
        stored=counts[Outcome.STORED],
        duplicates=counts[Outcome.DUPLICATE],
        dead_letters=counts[Outcome.DEAD],
        ignored=counts[Outcome.IGNORED],
        pending=pending_in(counts),
        spooled=spooled,
        oldest_pending_seconds=round(oldest_seconds, 3),
    )
