"""The spool files of a folder as an operator sees them: what is in them, without a change to them."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from ingress import spool
from ingress.spool import SUFFIX, SpoolError
from shared.callback import unpack
from shared.errors import Malformed

ANSWER_SECONDS = 5.0  # longest wait for an ingress that writes at the same moment


class Content(NamedTuple):
    """What a spool file holds: callbacks by source, and when the oldest was received (None: not known). `size_bytes` is
    its size on the disk."""

    is_in_use: bool
    counts: Mapping[str, int]
    size_bytes: int
    oldest: datetime | None


def find(folder: Path) -> list[Path]:
    """The spool files in a folder, by name; none where there is no folder. Raises SpoolError."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SpoolError(f"the folder cannot be read ({error.strerror})") from None


def read(path: Path) -> Content:
    """Raises SpoolError for a file that is no spool, or cannot be read."""
    if path.suffix != SUFFIX:
        raise SpoolError(f"it is no spool: its name does not end in {SUFFIX}")
    with _reading(path) as connection:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            return Content(spool.is_in_use(path), {}, _size_of(path), None)  # its ingress ended while it made the file
        counts = dict(connection.execute("SELECT source, count(*) FROM spooled WHERE n > 0 GROUP BY source ORDER BY 1"))
        first = connection.execute("SELECT packed FROM spooled WHERE n > 0 ORDER BY n LIMIT 1").fetchone()
        oldest = None
        with suppress(Malformed, TypeError):  # a damaged row; it is a dead letter once it was moved
            oldest = unpack(first[0]).received_at if first else None
        return Content(spool.is_in_use(path), counts, _size_of(path), oldest)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Raises SpoolError."""
    try:
        path.open("rb").close()  # raises OSError with the reason, which SQLite does not give
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=ANSWER_SECONDS)) as connection:
            yield connection
    except OSError as error:
        raise SpoolError(f"it cannot be read ({error.strerror})") from None
    except sqlite3.DatabaseError as error:
        raise SpoolError(f"it cannot be read as a spool ({error})") from None


def _size_of(path: Path) -> int:
    """With its log of what was written last."""
    size = 0
    for each in (path, path.with_name(f"{path.name}-wal")):
        with suppress(FileNotFoundError):
            size += each.stat().st_size
    return size
