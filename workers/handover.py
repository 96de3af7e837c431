"""Hands a value from a worker's parent to its children, those that it has forked and those that it will fork."""

import errno
import mmap
import os
import pickle
from pathlib import Path
from tempfile import mkstemp
from typing import Generic, TypeVar

T = TypeVar("T")

_LENGTH_BYTES = 8


class Handover(Generic[T]):
    """Made by the parent before it forks, and used by one of its threads. A child takes the value when it wants to."""

    def __init__(self) -> None:
        # Each value is written behind the one before, which a child may still be reading.
        self._file, path = mkstemp()
        Path(path).unlink()
        # What all processes share in memory: behind which byte of the file the latest value is; 0 before the first.
        self._place = memoryview(mmap.mmap(-1, _LENGTH_BYTES)).cast("Q")
        self._taken = 0

    def close(self) -> None:
        """Lets go of the file."""
        os.close(self._file)

    def give(self, value: T) -> None:
        """Takes the place of the value before. Raises OSError when there is no room for it: then that one stays."""
        written = pickle.dumps(value)
        whole = len(written).to_bytes(_LENGTH_BYTES) + written
        at = os.fstat(self._file).st_size or _LENGTH_BYTES
        if os.pwrite(self._file, whole, at) < len(whole):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._place[0] = at

    def has_new(self) -> bool:
        """Whether a value was given that this process has not taken."""
        return self._place[0] != self._taken

    def take(self) -> T:
        """The latest value."""
        at = self._place[0]
        length = int.from_bytes(os.pread(self._file, _LENGTH_BYTES, at))
        value: T = pickle.loads(os.pread(self._file, length, at + _LENGTH_BYTES))  # noqa: S301 - our own
        self._taken = at
        return value
