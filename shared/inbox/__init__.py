"""The inbox: a Redis stream that holds every acknowledged callback until it is in PostgreSQL.

The only place that speaks to Redis, and that knows its keys. The ingress appends (async); workers claim, acknowledge,
hand back and hold (sync). Both ends read the ledger: counts for each source, which the scripts keep in the same step as
they change the stream. Both raise RedisUnavailable when Redis is away.
"""

from shared.inbox.accounts import Account, accounts, differences
from shared.inbox.activity import Activity, activity
from shared.inbox.append import Appender, Group
from shared.inbox.audit import audit_group
from shared.inbox.backlog import Backlog, backlog, merged_backlog
from shared.inbox.client import (
    AsyncShard,
    Shard,
    broker_options,
    connect,
    connect_async,
    is_full,
    ping,
    ping_anew,
)
from shared.inbox.consumer import Consumer, Done, Entry
from shared.inbox.demands import examine
from shared.inbox.doorbell import TASK as DRAIN
from shared.inbox.doorbell import ring
from shared.inbox.errors import RedisUnavailable
from shared.inbox.group import Abandoned
from shared.inbox.holds import Hold, HoldRecords, Holds
from shared.inbox.keys import APPENDED, COUNTERS, REPEAT
from shared.inbox.notes import (
    Latest,
    Notes,
    Setback,
    note_latest,
    note_open_dead_letters,
    note_shards,
    note_sources,
    read_notes,
)
from shared.inbox.processes import REPORT_SECONDS, Process, forget_process, report_process
from shared.inbox.quarantine import KEPT, KeptRequest, Known, Quarantine, QuarantineWriter
from shared.inbox.reclassify import Reclassification, Reclassifier
from shared.inbox.retire import fold, is_retired, restore, retire
from shared.inbox.ringer import Ringer
from shared.inbox.shards import Shards
from shared.inbox.snapshot import (
    Depth,
    Snapshot,
    pending_in,
    take_snapshot,
)
from shared.inbox.unmet import report_ingress_unmet, report_unmet
from shared.inbox.waiting import waiting_by_source
from shared.inbox.whole import Inbox

__all__ = [
    "APPENDED",
    "COUNTERS",
    "DRAIN",
    "KEPT",
    "REPEAT",
    "REPORT_SECONDS",
    "Abandoned",
    "Account",
    "Activity",
    "Appender",
    "AsyncShard",
    "Backlog",
    "Consumer",
    "Depth",
    "Done",
    "Entry",
    "Group",
    "Hold",
    "HoldRecords",
    "Holds",
    "Inbox",
    "KeptRequest",
    "Known",
    "Latest",
    "Notes",
    "Process",
    "Quarantine",
    "QuarantineWriter",
    "Reclassification",
    "Reclassifier",
    "RedisUnavailable",
    "Ringer",
    "Setback",
    "Shard",
    "Shards",
    "Snapshot",
    "accounts",
    "activity",
    "audit_group",
    "backlog",
    "broker_options",
    "connect",
    "connect_async",
    "differences",
    "examine",
    "fold",
    "forget_process",
    "is_full",
    "is_retired",
    "merged_backlog",
    "note_latest",
    "note_open_dead_letters",
    "note_shards",
    "note_sources",
    "pending_in",
    "ping",
    "ping_anew",
    "read_notes",
    "report_ingress_unmet",
    "report_process",
    "report_unmet",
    "restore",
    "retire",
    "ring",
    "take_snapshot",
    "waiting_by_source",
]
