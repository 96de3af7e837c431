"""The keys in Redis, the names in the ledger, and the scripts."""

from functools import cache
from importlib.resources import files
from typing import NamedTuple

from shared.outcomes import Outcome

GROUP = "drain"
HOLDER = "held:"  # + source: the consumer under whose name the entries of a held source stay pending

MEMORY_SHARE = 0.8  # of Redis's maxmemory; the rest is for Celery and the drain

# What the ledger counts. For every source: appended - repeat = stored + duplicate + dead + ignored + pending.
APPENDED = "appended"
REPEAT = "repeat"  # stored before under another entry: an append whose answer was lost, and that was sent again
COUNTERS = (APPENDED, REPEAT, *Outcome)


class RefusedKeys(NamedTuple):
    """The keys of what one source refused. A member of a sorted set is address, id and bytes of a request."""

    requests: str  # id → request
    times: str  # member → when it was kept
    order: str  # members by address, and for each address by time
    shares: str  # address → the bytes that its requests take


class Keys:
    """The keys of one shard. They have one hash tag, so that one node of a Cluster has them all. The tags of the first
    four shards are in four different quarters of the slots."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.tag = f"{{callbox:{number}}}"
        self.inbox = f"{self.tag}:inbox"
        self.ledger = f"{self.tag}:ledger"
        self.heard = f"{self.tag}:heard"  # source → when its latest callback was appended, in Unix milliseconds
        self.oddities = f"{self.tag}:oddities"
        self.kinds = f"{self.tag}:oddity_kinds"  # source → how many kinds of its oddities are counted by name
        self.spools = f"{self.tag}:spools"
        self.probe = f"{self.tag}:probe"
        self.nudge = f"{self.tag}:nudge"  # a channel without listeners
        self.holds = f"{self.tag}:holds"
        self.trial = f"{self.tag}:trial:"  # + source: exists while another trial would be too early
        self.marks = f"{self.tag}:active"  # consumer → when it last used the inbox
        self.unmet = f"{self.tag}:unmet"  # host of workers → what its servers do not meet
        self.ingress_unmet = f"{self.tag}:ingress_unmet"  # the same for hosts of ingresses
        self.processes = f"{self.tag}:processes"  # an ingress or a worker → the configuration that it has
        self.check = f"{self.tag}:check"  # what the names of keys begin with that are made and deleted for a check
        self.notes = f"{self.tag}:notes"
        self.folded = f"{self.tag}:folded"  # number of a shard that was removed → what was added here of it
        self.retired = f"{self.tag}:retired"  # exists once the shard takes no more callbacks
        self.writer = f"{self.tag}:writer:"  # + name of an ingress process: how many callbacks it appended
        self.audited = f"{self.tag}:audited"
        self.reclassified = f"{self.tag}:reclassified"
        self.replayed = f"{self.tag}:replayed"  # source, `from` or `to`, outcome → callbacks
        self.quarantine = f"{self.tag}:quarantine"  # source, `requests` or `bytes` → how many are kept

    def refused(self, source: str) -> RefusedKeys:
        """Where the refused requests of a source are."""
        return RefusedKeys(*(f"{self.quarantine}:{source}:{each}" for each in RefusedKeys._fields))


@cache
def script(name: str) -> str:
    """The text of a script in shared/inbox/lua."""
    return files("shared.inbox").joinpath("lua", f"{name}.lua").read_text()
