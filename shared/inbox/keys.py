"""The keys in Redis, the names in the ledger, and the scripts."""

from functools import cache
from importlib.resources import files

from shared.outcomes import Outcome

INBOX = "callbox:inbox"
LEDGER = "callbox:ledger"
ODDITIES = "callbox:oddities"
KINDS = "callbox:oddity_kinds"  # source → how many kinds of its oddities are counted, each under its own name
SPOOLS = "callbox:spools"
PROBE = "callbox:probe"
HOLDS = "callbox:holds"
MARKS = "callbox:active"  # consumer → when it last used the inbox
UNMET = "callbox:unmet"  # host of workers → what its servers do not meet
CHECK = "callbox:check"  # what the names of keys begin with that are made and deleted for a check
NOTES = "callbox:notes"
AUDITED = "callbox:audited"
RECLASSIFIED = "callbox:reclassified"
REPLAYED = "callbox:replayed"  # source, `from` or `to`, outcome → callbacks
GROUP = "drain"
HOLDER = "held:"  # + source: the consumer under whose name the entries of a held source stay pending

MEMORY_SHARE = 0.8  # of Redis's maxmemory; the rest is for Celery and the drain

# What the ledger counts. For every source: appended - repeat = stored + duplicate + dead + ignored + pending.
APPENDED = "appended"
REPEAT = "repeat"  # stored before under another entry: an append whose answer was lost, and that was sent again
COUNTERS = (APPENDED, REPEAT, *Outcome)


@cache
def script(name: str) -> str:
    """The text of a script in shared/inbox/lua."""
    return files("shared.inbox").joinpath("lua", f"{name}.lua").read_text()
