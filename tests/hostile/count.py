"""The count at the end: what was acknowledged is looked up in `callbacks`, and the ledger must add up."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tests.hostile.framings import SMUGGLED
from tests.hostile.fuzz import Kept
from tests.hostile.system import System

LINES = 5  # of one kind, at most


@dataclass(frozen=True)
class Count:
    """What was acknowledged and stored. `wrong` has a line for each thing that should not be."""

    acknowledged: int
    rows: int
    wrong: list[str] = field(default_factory=list)


def count(system: System, ids: Collection[str], fuzzed: Mapping[str, Kept] | None = None) -> Count:
    """Waits until everything is stored, and counts; of what the fuzzer had accepted, source, method and body too."""
    system.up.wait_drained()
    stored: set[UUID] = {row["id"] for row in system.up.query("SELECT id FROM callbacks")}
    missing = (f"{id} was acknowledged and is not in `callbacks`" for id in ids if UUID(id) not in stored)
    wrong = _some(list(missing))
    query = f"SELECT count(*) AS n FROM callbacks WHERE position('{SMUGGLED.decode()}'::bytea IN body) > 0"
    if smuggled := system.up.query(query)[0]["n"]:
        wrong.append(f"{smuggled} smuggled callbacks were accepted")
    wrong += _some(list(_not_as_sent(system, fuzzed or {})))
    return Count(len(ids), len(stored), [*wrong, *_ledger(system, len(stored))])


def _some(lines: list[str]) -> list[str]:
    return [*lines[:LINES], *([f"… and {len(lines) - LINES} more of these"] if len(lines) > LINES else [])]


def _not_as_sent(system: System, fuzzed: Mapping[str, Kept]) -> Iterator[str]:
    """Callbacks that are stored otherwise than they were sent, and messages that had to be signed."""
    messages = {row["callback_id"] for row in system.up.query("SELECT callback_id FROM inbound_messages")}
    for row in system.up.query("SELECT id, source, method, sha256(body) AS digest FROM callbacks"):
        kept = fuzzed.get(str(row["id"]))
        if kept is None:
            continue
        if (row["source"], row["method"], row["digest"]) != (kept.source, kept.method, kept.digest):
            yield f"{row['id']} (case {kept.number}) is stored otherwise than it was sent"
        if row["id"] in messages and not kept.signed and system.up.sources[kept.source].secrets:
            yield f"{row['id']} (case {kept.number}) is a message that had to be signed"


def _ledger(system: System, rows: int) -> list[str]:
    status: dict[str, Any] = json.loads(system.up.command("status", "--json").stdout)
    found = [f"the ledger says {name} {status[name]}" for name in ("pending", "spooled", "difference") if status[name]]
    if status["accepted"] != rows:
        found.append(f"the ledger says accepted {status['accepted']}, the table has {rows}")
    return found
