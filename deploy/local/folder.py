"""The folder of a `callbox up`: it belongs to one process at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local import logfile
from deploy.local.errors import CannotStart
from deploy.local.files import read_addresses


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Makes the folder this process's own: a second `up` in it would fight over the data. Raises CannotStart."""
    try:
        for name in ("", "logs", "metrics"):
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "lock").open("a+")
    except OSError as error:
        raise CannotStart(f"{folder}: cannot be written to: {error.strerror}; give another --data") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotStart(_in_use(folder)) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def owner(folder: Path) -> int | None:
    """The process id of the `callbox up` that runs in the folder; None where none does."""
    try:
        with (folder / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return int(lock.read())
    except (OSError, ValueError):
        pass
    return None


def clear(folder: Path) -> None:
    """Sets the logs of the last run aside, and removes its metrics."""
    for metrics in (folder / "metrics").glob("*.db"):
        metrics.unlink()
    for log in (folder / "logs").glob("*.log"):
        logfile.set_aside(log)


def _in_use(folder: Path) -> str:
    url = read_addresses(folder).get("CALLBOX_URL")
    state = f"runs already at {url}" if url else "is starting"
    return f"another Callbox {state}, over {folder}: stop it, or give another --data"
