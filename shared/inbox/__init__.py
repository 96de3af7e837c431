"""The inbox: a Redis stream that holds every acknowledged callback until it stands in PostgreSQL.

The only place that knows its keys. The ingress appends (async); workers claim, acknowledge, hand back and hold (sync);
both ends read the ledger, the counts per source that the scripts keep in the same step as they change the stream.
"""

from shared.inbox.append import Appender
from shared.inbox.claim import Abandoned, Claimer, Entry, Settled
from shared.inbox.client import connect, is_full
from shared.inbox.hold import Board, Hold, Holds
from shared.inbox.keys import COUNTERS, GROUP, INBOX, LEDGER, ODDITIES, OUTCOMES, PROBE
from shared.inbox.mend import audit
from shared.inbox.move import Move, Mover
from shared.inbox.seen import Counts, Depth, Seen, Turns, look, pending, turns, waiting_by_source

__all__ = [
    "COUNTERS",
    "GROUP",
    "INBOX",
    "LEDGER",
    "ODDITIES",
    "OUTCOMES",
    "PROBE",
    "Abandoned",
    "Appender",
    "Board",
    "Claimer",
    "Counts",
    "Depth",
    "Entry",
    "Hold",
    "Holds",
    "Move",
    "Mover",
    "Seen",
    "Settled",
    "Turns",
    "audit",
    "connect",
    "is_full",
    "look",
    "pending",
    "turns",
    "waiting_by_source",
]
