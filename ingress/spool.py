"""The spool: where a group of callbacks is made durable while Redis cannot take it (promise P1).

A SQLite file (WAL, synchronous=FULL, one transaction for each group) that belongs to one ingress process, under a lock
beside it: several processes on one file starve each other. A file whose owner is gone is adopted by
whichever ingress of the same folder finds it first. Every method blocks on the disk: call them in a thread.
"""

import fcntl
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, NamedTuple
from uuid import uuid4

from shared.callback import unpack
from shared.errors import Malformed, Unavailable
from shared.inbox import Group

SUFFIX = ".spool"
SMALLEST_BYTES = 64 * 1024
LAST = 2**63 - 1  # no number is larger
# AUTOINCREMENT: a number must not come again after its row was removed, for what was moved is known by its number.
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS spooled"
    " (n INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, packed BLOB NOT NULL)"
)


class SpoolError(Unavailable):
    """The folder, the file or the disk fails."""


class SpoolFull(SpoolError):
    """The file has reached its limit, or the disk its end."""


class SpoolInUse(SpoolError):
    """Another process works on the file: its ingress, or one that adopted it."""


class Spooled(NamedTuple):
    """A callback in the spool; numbers grow in the order of arrival."""

    number: int
    source: str
    packed: bytes


class Depth(NamedTuple):
    """How many callbacks wait in a file, and when the oldest arrived; None where that cannot be read, or none waits."""

    callbacks: int
    oldest_at: datetime | None


class Spool:
    """One spool file, open and locked."""

    def __init__(self, path: Path, lock: IO[str], limit_bytes: int) -> None:
        """Raises SpoolError when the file cannot be used."""
        self.path = path
        self._lock = lock
        self._moved_through = 0
        self._counts: Counter[str] | None = None  # by source; not known yet of a file that was left by another process
        with _failing_to("be opened"):
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                page_bytes = self._connection.execute("PRAGMA page_size").fetchone()[0]
                pages = max(SMALLEST_BYTES, limit_bytes) // page_bytes
                self._connection.execute(f"PRAGMA max_page_count = {pages}")
                self._connection.execute(_SCHEMA)
                self._connection.execute("DELETE FROM spooled WHERE n = -1")  # of a probe that was interrupted
                if self._connection.execute("SELECT 1 FROM spooled LIMIT 1").fetchone() is None:
                    self._counts = Counter()
            except sqlite3.Error:
                self._connection.close()
                raise

    def append(self, group: Group) -> None:
        """Makes the group durable, all or nothing. Raises SpoolError."""
        with _failing_to("take it"), self._transaction():
            self._connection.executemany("INSERT INTO spooled (source, packed) VALUES (?, ?)", group)
        if self._counts is not None:
            self._counts.update(source for source, _ in group)

    def probe(self) -> None:
        """Raises SpoolError unless a callback could be made durable."""
        with _failing_to("take it"):
            with self._transaction():
                self._connection.execute("INSERT INTO spooled VALUES (-1, '', zeroblob(4096))")
            with self._transaction():
                self._connection.execute("DELETE FROM spooled WHERE n = -1")

    def counts(self) -> dict[str, int]:
        """How many callbacks of each source wait here. Raises SpoolError. A full file has millions, so that each is
        looked at only once."""
        if self._counts is None:
            with _failing_to("be read"):
                self._counts = self._count(self._moved_through, LAST)
        return dict(self._counts)

    def depth(self) -> Depth:
        """How many callbacks wait here, and since when; looks at two of them only. Raises SpoolError."""
        query = "SELECT n, packed, (SELECT max(n) FROM spooled) FROM spooled WHERE n > ? ORDER BY n LIMIT 1"
        with _failing_to("be read"):
            row = self._connection.execute(query, (self._moved_through,)).fetchone()
        if row is None:
            return Depth(0, None)
        first, packed, last = row
        try:
            oldest_at = unpack(bytes(packed)).received_at
        except Malformed:  # the workers make a dead letter of it
            oldest_at = None
        return Depth(last - first + 1, oldest_at)  # they are removed in order, and a number never comes again

    def oldest(self, count: int, most_bytes: int) -> list[Spooled]:
        """The oldest callbacks, up to `count` and `most_bytes`, or one. Raises SpoolError."""
        found: list[Spooled] = []
        size = 0
        query = "SELECT n, source, packed FROM spooled WHERE n > ? ORDER BY n LIMIT ?"
        with _failing_to("be read"):
            for row in self._connection.execute(query, (self._moved_through, count)):
                spooled = Spooled(row[0], str(row[1]), bytes(row[2]))
                size += len(spooled.packed)
                if found and size > most_bytes:
                    break
                found.append(spooled)
        return found

    def remove_through(self, number: int) -> None:
        """Forgets the callbacks up to this number: they are in the inbox now. Raises SpoolError: then the disk is
        too full even to forget, and they are deleted with the next ones."""
        before, self._moved_through = self._moved_through, number
        with _failing_to("be emptied"):
            if self._counts is not None:
                self._counts -= self._count(before, number)
            self._connection.execute("DELETE FROM spooled WHERE n <= ?", (number,))

    def close(self) -> None:
        """Lets go of the file; an empty one is removed, one with callbacks in it waits for who adopts it."""
        empty = False
        with suppress(sqlite3.Error):
            empty = self._connection.execute("SELECT count(*) FROM spooled").fetchone()[0] == 0
        with suppress(sqlite3.Error):
            self._connection.close()
        if empty:
            _remove(self.path)
        self._lock.close()

    def _count(self, after: int, through: int) -> Counter[str]:
        query = "SELECT source, count(*) FROM spooled WHERE n > ? AND n <= ? GROUP BY source"
        return Counter({str(source): count for source, count in self._connection.execute(query, (after, through))})

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise


def create(folder: Path, limit_bytes: int) -> Spool:
    """A new spool file in the folder, this process's own. Raises SpoolError."""
    path = folder / f"{uuid4()}{SUFFIX}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _locked(path)
    except OSError as error:
        raise SpoolError(f"the spool cannot be made in {folder} ({error.strerror})") from None
    if lock is None:
        raise SpoolError(f"the spool cannot be locked in {folder}")
    try:
        return _open(path, lock, limit_bytes)
    except SpoolError:
        _remove(path)  # on a full disk every try would leave a file, to be adopted one day
        raise


def adopt(folder: Path, limit_bytes: int) -> Spool | None:
    """The oldest spool file in the folder whose owner is gone, locked for this process; None without one."""
    try:
        paths = sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime)
    except OSError:
        return None
    for path in paths:
        with suppress(OSError, SpoolError):
            lock = _locked(path)
            if lock is not None and path.exists():
                return _open(path, lock, limit_bytes)
            if lock is not None:  # its owner has just emptied and removed it
                Path(lock.name).unlink(missing_ok=True)
                lock.close()
    return None


def take(path: Path, limit_bytes: int) -> Spool:
    """This spool file, locked for this process. Raises SpoolInUse, or SpoolError when it cannot be used."""
    with _failing_to("be opened"):
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
        lock = _locked(path)
    if lock is None:
        raise SpoolInUse("its ingress runs, and moves it by itself")
    return _open(path, lock, limit_bytes)


def is_in_use(path: Path) -> bool:
    """Whether a process works on this spool file. Changes nothing."""
    try:
        with _lock_of(path).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _open(path: Path, lock: IO[str], limit_bytes: int) -> Spool:
    try:
        return Spool(path, lock, limit_bytes)
    except SpoolError:
        lock.close()
        raise


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", ".lock"):
        with suppress(OSError):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def _locked(path: Path) -> IO[str] | None:
    """The lock beside a spool file, None while another process holds it. The kernel frees it when its holder dies."""
    lock = _lock_of(path).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


@contextmanager
def _failing_to(doing: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        is_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        raise (SpoolFull if is_full else SpoolError)(f"the spool cannot {doing} ({error})") from None
