"""Whether a worker does its work. It is stalled if it made no call to the inbox for a while although callbacks wait.

`python -m workers.health`, the liveness check of a worker's container, exits with 1 then. It looks only at workers of
its own container or host. `callbox up` checks the worker that it runs in the same way, and restarts it. Celery's pings
are no help: a stalled worker may answer them.
"""

import os
import sys
from pathlib import Path

from shared import config, inbox
from shared.inbox import RedisUnavailable
from shared.settings import Settings
from workers.names import consumer_prefix

CHECK_SECONDS = 5.0  # longest wait for Redis


def stalled(found: inbox.Inbox, prefix: str, settings: Settings, up_seconds: float) -> str | None:
    """Why the worker counts as stalled; None if it does not. A worker that has made no call yet gets the time since its
    start. Raises RedisUnavailable: while Redis is away no worker can do anything."""
    unclaimed, idle = found.activity(prefix, settings.reclaim_seconds)
    idle = min(idle, up_seconds) if idle is not None else up_seconds
    if min(idle, unclaimed) < settings.stall_seconds:
        return None
    return f"no drain was active for {idle:.0f} s while callbacks wait for {unclaimed:.0f} s"


def _up_seconds() -> float:
    """How long this container has been up: the age of its first process (Linux, proc(5)); on a host that of the host.
    A worker that has just started has made no call yet."""
    try:
        started = int(Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return float(Path("/proc/uptime").read_text().split()[0]) - started
    except (OSError, ValueError, IndexError):
        return float("inf")


def main() -> None:
    settings = config.or_exit(lambda: config.load_settings(os.environ))
    try:
        with inbox.Inbox.connect(settings, CHECK_SECONDS / 2) as found:
            why = stalled(found, consumer_prefix(), settings, _up_seconds())
    except RedisUnavailable:
        return  # restarting the worker would not bring Redis back
    if why:
        sys.exit(why)


if __name__ == "__main__":
    main()
