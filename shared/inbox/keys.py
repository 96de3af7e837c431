"""The keys in Redis, and what the ledger counts."""

from importlib.resources import files

INBOX = "callbox:inbox"
LEDGER = "callbox:ledger"
ODDITIES = "callbox:oddities"
KINDS = "callbox:oddity_kinds"  # source → how many kinds of its oddities are counted, each under its own name
SPOOLS = "callbox:spools"
PROBE = "callbox:probe"
HOLDS = "callbox:holds"
AUDIT = "callbox:audit"
AUDITED = "callbox:audited"
MOVED = "callbox:moved"
GROUP = "drain"
HOLDER = "held:"  # + source: the consumer under whose name the entries of a held source stay pending

MEMORY_SHARE = 0.8  # of Redis's maxmemory; the rest is for Celery and the drain

# What the ledger counts. For every source: appended - repeat = stored + duplicate + dead + ignored + pending.
OUTCOMES = ("stored", "duplicate", "dead", "ignored")
COUNTERS = ("appended", "repeat", *OUTCOMES)


def script(name: str) -> str:
    """The text of a script of shared/lua."""
    return files("shared").joinpath("lua", f"{name}.lua").read_text()
