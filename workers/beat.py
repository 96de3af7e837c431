"""Celery's beat, which rings the doorbell only while something waits in the inbox, and keeps no messages waiting.

The ingress rings for what it appends. Beat makes up for doorbells that were lost, and for workers that are gone.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from celery import beat

from shared import config, inbox, logs
from shared.inbox import DRAIN, Inbox, RedisUnavailable

REDIS_SECONDS = 2.0  # longest wait for an answer of Redis

log = logs.get(__name__)


class Bell:
    """The doorbell as beat rings it. Redis may be away: that is logged when it begins and when it ends."""

    def __init__(self, found: Inbox, reclaim_seconds: float, now: Callable[[], datetime]) -> None:
        """A claim that was not renewed for `reclaim_seconds` waits for a worker."""
        self._inbox = found
        self._reclaim_seconds = reclaim_seconds
        self._now = now
        self._is_away = False

    def ring_if_due(self) -> None:
        """Asks for a drain if one would find something, and none is asked for already."""
        try:
            if self._inbox.is_drain_due(self._reclaim_seconds):
                self._inbox.ring(self._now())
        except RedisUnavailable as error:
            if not self._is_away:
                log.warning("cannot ring", why=str(error))
            self._is_away = True
        else:
            if self._is_away:
                log.info("can ring again")
            self._is_away = False

    def is_answered(self) -> bool:
        """Whether no message waits for a worker. Also while Redis is away: whoever sends one then finds out."""
        try:
            return not self._inbox.is_rung()
        except RedisUnavailable:
            return True


class Scheduler(beat.Scheduler):  # type: ignore[misc]
    """Celery's own, which remembers nothing. Workers that are away find no pile of messages when they come back."""

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        if entry.task == DRAIN:
            self._bell.ring_if_due()
        elif self._bell.is_answered():
            super().apply_entry(entry, producer)

    @cached_property
    def _bell(self) -> Bell:
        settings = config.or_exit(lambda: config.load_settings(os.environ))
        found = inbox.Inbox.connect(settings, REDIS_SECONDS)
        return Bell(found, settings.reclaim_seconds, lambda: datetime.now(UTC))
