"""The logs of the children of `callbox up`, kept within a size while their writers go on."""

import shutil
from contextlib import suppress
from os import truncate
from pathlib import Path

LOG_BYTES = 16 * 1024 * 1024  # beyond which a log is moved aside
TAIL_BYTES, LINE_CHARS = 4096, 200  # of what is read of its end, and shown of its last line
ASIDE_COUNT = 4  # logs of one child that are kept aside: NAME.log.1 is the newest

# A child holds its log itself, opened for appending. Through a pipe no line would be lost, but a child would hang as
# soon as the supervisor is slow, frozen or has no room to write. A file that a child holds cannot be renamed away under
# it, so it is copied, then emptied: what is written between the two is lost, some microseconds' worth in 16 MiB.


def limit(log: Path) -> None:
    """Moves what the log holds aside when it is too much. Without room for the copy it is lost, and the limit kept."""
    with suppress(OSError):
        if log.stat().st_size <= LOG_BYTES:
            return
        _shift(log)
        copy = _aside(log, 1)
        try:
            shutil.copyfile(log, copy)
        except OSError:
            copy.unlink(missing_ok=True)
        finally:
            truncate(log, 0)


def last_line(log: Path) -> str:
    """The last line that is not blank, or its beginning."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:LINE_CHARS] for line in reversed(lines) if line.strip()), "")


def set_aside(log: Path) -> None:
    """Moves the log itself aside, while no process has it open."""
    _shift(log)
    log.replace(_aside(log, 1))


def _shift(log: Path) -> None:
    for number in range(ASIDE_COUNT - 1, 0, -1):
        with suppress(FileNotFoundError):
            _aside(log, number).replace(_aside(log, number + 1))


def _aside(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")
