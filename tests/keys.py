"""The keys of the first shard, as tests look at them from outside; and shards in memory."""

from fakeredis import FakeAsyncRedis

from shared.inbox.keys import Keys

KEYS = Keys(0)
INBOX, LEDGER, ODDITIES, KINDS = KEYS.inbox, KEYS.ledger, KEYS.oddities, KEYS.kinds
PROBE, MARKS, UNMET, AUDITED, RECLASSIFIED = KEYS.probe, KEYS.marks, KEYS.unmet, KEYS.audited, KEYS.reclassified
PROCESSES = KEYS.processes


class FakeAsyncShard(FakeAsyncRedis):
    """A shard whose Redis is in memory."""

    names = KEYS
