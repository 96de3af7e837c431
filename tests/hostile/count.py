"""The count at the end: what was acknowledged is looked up in `callbacks`, and the ledger must add up."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tests.hostile.framings import SMUGGLED
from tests.hostile.system import System


@dataclass(frozen=True)
class Count:
    """What was acknowledged and stored. `wrong` has a line for each thing that should not be."""

    acknowledged: int
    rows: int
    wrong: list[str] = field(default_factory=list)


def count(system: System, ids: Collection[str], more: Sequence[str] = ()) -> Count:
    """Waits until everything is stored, and counts."""
    system.up.wait_drained()
    stored: set[UUID] = {row["id"] for row in system.up.query("SELECT id FROM callbacks")}
    missing = [id for id in ids if UUID(id) not in stored]
    wrong = [f"{id} was acknowledged and is not in `callbacks`" for id in missing[:10]]
    if len(missing) > 10:
        wrong.append(f"… and {len(missing) - 10} more")
    query = f"SELECT count(*) AS n FROM callbacks WHERE position('{SMUGGLED.decode()}'::bytea IN body) > 0"
    if smuggled := system.up.query(query)[0]["n"]:
        wrong.append(f"{smuggled} smuggled callbacks were accepted")
    return Count(len(ids), len(stored), [*wrong, *_ledger(system, len(stored)), *more])


def _ledger(system: System, rows: int) -> list[str]:
    status: dict[str, Any] = json.loads(system.up.command("status", "--json").stdout)
    found = [f"the ledger says {name} {status[name]}" for name in ("pending", "spooled", "difference") if status[name]]
    if status["accepted"] != rows:
        found.append(f"the ledger says accepted {status['accepted']}, the table has {rows}")
    return found
