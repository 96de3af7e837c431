"""The names of workers in the consumer groups of the inbox. No two workers may have the same one: each would renew and
acknowledge what the other has claimed.

A hostname and a process id are not enough. Clones of a virtual machine, containers with a fixed hostname and pods of
one name in two clusters may have both in common.
"""

import os
import secrets
import socket
from functools import cache
from hashlib import blake2b
from pathlib import Path

PLACE_BYTES = 4  # of the digest of a place
_OWN = secrets.token_hex(4)  # made by each worker parent for itself and its children


def consumer_prefix(worker_pid: int | None = None) -> str:
    """What the names of a worker's consumers begin with: of this place's, or of one worker (its parent process)."""
    return f"{socket.gethostname()}-{_place()}-" + (f"{worker_pid}-" if worker_pid is not None else "")


def consumer_name(worker_pid: int) -> str:
    """The name of this process, a child of that worker."""
    return f"{consumer_prefix(worker_pid)}{os.getpid()}-{_OWN}"


@cache
def _place() -> str:
    """A digest of what only this host, or this container, has; every process in it finds the same (Linux, proc(5))."""
    parts = "\n".join((_boot(), _process_namespace(), _start_of_first_process()))
    return blake2b(parts.encode(), digest_size=PLACE_BYTES).hexdigest()


def _boot() -> str:
    return _text("/proc/sys/kernel/random/boot_id")


def _process_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _start_of_first_process() -> str:
    """In ticks since the start of the host: the number of a namespace that is gone may be given again."""
    return " ".join(_text("/proc/1/stat").rpartition(")")[2].split()[19:20])


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""
