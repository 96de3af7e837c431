"""Removes what `callbox send` had stored. The ledger keeps its counts, for it counts what was accepted."""

from collections import Counter

from workers.connection import Connection
from workers.database import Database
from workers.statements import sql

# In this order: what hangs on a callback goes before it, so that an interrupted removal can be finished.
TABLES = ("dead_letters", "replays", "inbound_messages", "delivery_reports", "deliveries", "callbacks")
PAGE = 5000  # rows of one transaction


def remove(database: Database, source: str | None, dry: bool = False) -> Counter[str]:
    """How many rows of each table were removed, of a source or of all; with `dry` how many there are, up to a page.

    Raises Unavailable and TooMuch.
    """
    removed: Counter[str] = Counter()
    for table in TABLES:
        parameters = {"source": source, "page": PAGE}

        def work(connection: Connection, table: str = table) -> int:
            return connection.execute(sql(f"tests/{table}"), parameters).rowcount  # noqa: B023 - called at once

        while count := database.run(work, rollback=dry):
            removed[table] += count
            if dry:
                break
    return removed
