"""Ends a worker that lives but does nothing; the supervisor then starts it again, like any process that died."""

import os
import signal
import time
from contextlib import suppress

from deploy.local.supervisor import Child, Report
from shared import inbox
from shared.settings import Settings
from workers import health
from workers.names import consumer_prefix

CHECK_SECONDS = 5.0  # between two checks
ANSWER_SECONDS = 0.5  # for Redis to answer: a check must not delay the restart of what died


class StallCheck:
    """Checks a worker every few seconds."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._checked_at = 0.0

    def check(self, worker: Child | None, settings: Settings) -> None:
        """Ends the worker if it is stalled. Does nothing until the next check is due."""
        if time.monotonic() - self._checked_at < CHECK_SECONDS:
            return
        self._checked_at = time.monotonic()
        if worker is not None and worker.process is not None and worker.running():
            self._end_if_stalled(worker, worker.process.pid, settings)

    def _end_if_stalled(self, worker: Child, pid: int, settings: Settings) -> None:
        up_seconds = time.monotonic() - worker.started_at
        with (
            suppress(inbox.RedisUnavailable, ProcessLookupError),
            inbox.Inbox.connect(settings, ANSWER_SECONDS) as found,
        ):
            if why := health.stalled(found, consumer_prefix(pid), settings, up_seconds):
                self._report(f"{worker.name} is stalled: {why}")
                os.killpg(pid, signal.SIGKILL)  # with its children, which may be frozen too
