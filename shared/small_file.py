"""The small text files of a configuration, as text: whatever is there instead is neither waited for nor kept."""

import os
import stat
from pathlib import Path

MOST_BYTES = 1024 * 1024
BYTE_ORDER_MARK = "\ufeff"  # what some editors begin a file with


class Unreadable(Exception):
    """The message is what is wrong about the file, to be put behind its name."""


class Missing(Unreadable):
    """The file does not exist."""


def read_small_file(path: Path) -> str:
    """What the file holds, which is UTF-8. Raises Unreadable."""
    try:
        with open(path, "rb", opener=_open) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Unreadable("is a pipe or a device, not a file")
            found = file.read(MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise Missing(f"cannot be read: {error.strerror}") from None
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise Unreadable("cannot be read: its name has a NUL") from None
    if len(found) > MOST_BYTES:
        raise Unreadable(f"has more than {MOST_BYTES:,} bytes: is it the right file?")
    try:
        return found.decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"is not UTF-8 (byte {error.start})") from None


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe without a writer opens at once
