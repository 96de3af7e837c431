"""SIGHUP: a process that serves reads its configuration again.

The same signal comes when the terminal of a process has gone, and then means what it always meant: the end. The kernel
takes the terminal away before it sends the signal.
"""

import os
import signal

_HANGUP = {signal.SIGHUP}


class Terminal:
    """The terminal that a process was started in, if it was started in one."""

    def __init__(self) -> None:
        self._was_there = _is_there()

    def has_gone(self) -> bool:
        """Whether there was one, and it is gone."""
        return self._was_there and not _is_there()


def postpone() -> None:
    """Keeps back a SIGHUP that comes while a process still starts; otherwise it would be ended."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HANGUP)


def deliver() -> None:
    """Lets in what comes from now on, and one that was kept back: the process has a handler now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANGUP)


def _is_there() -> bool:
    """Whether this process has a controlling terminal, see tty(4)."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
