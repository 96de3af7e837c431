"""Processes beside the system, one for the honest traffic and one for the attackers: neither waits for the other."""

import multiprocessing
import os
import resource
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing.synchronize import Event

from deploy.local.supervisor import die_with_parent

MEMORY_BYTES = 4 * 1024**3  # of one of these processes: a mistake in a client must not take the machine's
HONEST_PRIORITY = -10  # where we may: what is measured is how long the server takes, not how long the client waits

_ended: Event | None = None


def process(priority: int = 0) -> tuple[ProcessPoolExecutor, Event]:
    """A process that runs what is submitted, one after another, and an event that `is_ended` shows it."""
    context = multiprocessing.get_context("spawn")
    ended = context.Event()
    return ProcessPoolExecutor(1, context, _begin, (ended, priority)), ended


def is_ended() -> bool:
    """In the process: whether what it does is to end."""
    return _ended is not None and _ended.is_set()


def _begin(ended: Event, priority: int) -> None:
    global _ended
    _ended = ended
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, priority)
