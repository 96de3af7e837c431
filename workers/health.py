"""Does a worker do its work? It is stalled when none of its drains turned for a while although callbacks wait.

`python -m workers.health`, the liveness check of a worker's container, exits with 1 then. `callbox up` asks the same
of the worker that it runs, and restarts it. Pings are not asked: a worker may answer them and consume nothing.
"""

import os
import socket
import sys
from pathlib import Path

import redis

from shared import config, inbox
from shared.settings import Settings

CHECK_SECONDS = 5.0  # longest wait for Redis


def consumer_prefix(worker_pid: int | None = None) -> str:
    """What the names of a worker's consumers begin with: of this host's, or of one worker (its parent process)."""
    return f"{socket.gethostname()}-" + (f"{worker_pid}-" if worker_pid is not None else "")


def stalled(client: redis.Redis, prefix: str, settings: Settings, up_seconds: float) -> str | None:
    """Why the worker counts as stalled, None while it does not. A worker that never turned is given the time since
    its start. Raises redis.RedisError: while Redis is away nobody can turn."""
    waited, turned = inbox.turns(client, prefix)
    idle = min(turned, up_seconds) if turned is not None else up_seconds
    if min(idle, waited) < max(settings.stall_seconds, 2 * settings.statement_seconds):  # one that waits turns later
        return None
    return f"no drain turned for {idle:.0f} s while callbacks wait for {waited:.0f} s"


def _up_seconds() -> float:
    """How long this container has been up: the age of its first process (Linux, proc(5)); on a host that of the host.
    A worker that has only just started has not turned yet."""
    try:
        started = int(Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return float(Path("/proc/uptime").read_text().split()[0]) - started
    except (OSError, ValueError, IndexError):
        return float("inf")


def main() -> None:
    settings = config.or_exit(lambda: config.load_settings(os.environ))
    try:
        with inbox.connect(redis.Redis, settings.redis_url, CHECK_SECONDS / 2) as client:
            why = stalled(client, consumer_prefix(), settings, _up_seconds())
    except redis.RedisError:
        return  # restarting the worker would not bring Redis back
    if why:
        sys.exit(why)


if __name__ == "__main__":
    main()
