"""What a drain takes next: what was handed back or lost, a suspect alone, or new entries; and how it reads them.

While PostgreSQL works on a full batch, the next one is claimed and parsed.
An entry whose workers vanish again and again is suspect: it is tried alone, while PostgreSQL answers, and in the end
set aside as a dead letter (promise P5).
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from redis import RedisError

from shared import logs
from shared.inbox import Abandoned, Claimer, Entry
from shared.settings import Settings
from shared.source import Source
from workers import parse
from workers.parse import WHOLE, Letter, Parsed

SUSPECT = 2  # an entry that vanished with so many workers is tried alone from then on
ALONE = 3  # times; then it is a dead letter

log = logs.get(__name__)


class Intake:
    """One for each drain; `answers` tells whether PostgreSQL does. What asks Redis raises redis.RedisError, save
    `let_go`."""

    def __init__(
        self,
        claimer: Claimer,
        sources: Mapping[str, Source],
        settings: Settings,
        stopping: Callable[[], bool],
        answers: Callable[[], bool],
    ) -> None:
        self._claimer = claimer
        self._sources = sources
        self._settings = settings
        self._stopping = stopping
        self._answers = answers
        self._reclaimed_at = float("-inf")
        self._suspects: list[Abandoned] = []
        self._ahead: list[Entry] = []  # claimed while PostgreSQL worked on the batch before
        self._parsed: dict[str, Parsed] = {}  # those of them that are parsed, by id

    @property
    def is_ahead(self) -> bool:
        """Whether entries are claimed that nobody asked for yet."""
        return bool(self._ahead)

    def next(self) -> list[Entry]:
        """What was claimed ahead, or is claimed now; empty when the inbox stays empty for a moment."""
        ahead, self._ahead = self._ahead, []
        return ahead or self._claim()

    def read(self, entry: Entry) -> Parsed:
        """What the entry says, or its dead letter when it ended too many workers."""
        if parsed := self._parsed.pop(entry.id, None):
            return parsed
        if entry.deliveries > SUSPECT + ALONE:
            detail = f"{entry.deliveries - 1} workers took it and none could finish, the last {ALONE} with nothing else"
            log.error("set aside", entry=entry.id, source=entry.source, why=detail)
            return parse.bury(entry, self._sources, Letter(WHOLE, "drain", "it ends its workers", detail))
        return parse.read(entry, self._sources)

    def read_ahead(self, behind: Sequence[Entry], ends: float) -> None:
        """Claims and parses the next batch while the one before is stored, unless the time is up or something else
        comes first.

        Only behind a full batch of new entries: none of them is suspected of ending its worker, which would then be
        blamed on the next ones too.
        """
        limit = self._settings.batch_bytes
        steady = len(behind) >= self._settings.batch_count and all(entry.deliveries == 1 for entry in behind)
        other = self._ahead or self._suspects or self._is_reclaim_due() or self._stopping() or time.monotonic() >= ends
        if steady and not other and _size(behind) <= limit:
            self._ahead = self._claimer.claim(self._settings.batch_count, 0)
            if _size(self._ahead) <= limit:
                self._parsed = {entry.id: self.read(entry) for entry in self._ahead}

    def renew(self, claimed: Iterable[Entry]) -> None:
        """Keeps the claim on these entries, and on those that were claimed ahead."""
        self._claimer.renew([*claimed, *self._ahead])

    def let_go(self) -> None:
        """Hands back what was claimed ahead, if Redis answers."""
        ahead, self._ahead, self._parsed = self._ahead, [], {}
        with suppress(RedisError):
            self._claimer.hand_back(ahead)

    def _is_reclaim_due(self) -> bool:
        return time.monotonic() - self._reclaimed_at >= self._settings.reclaim_seconds / 3

    def _claim(self) -> list[Entry]:
        count, idle = self._settings.batch_count, self._settings.reclaim_seconds
        if self._is_reclaim_due():
            self._reclaimed_at = time.monotonic()
            abandoned = self._claimer.abandoned(count, idle)
            # Those that were tried alone least often come first: a bad one must not keep the others waiting.
            self._suspects = sorted((it for it in abandoned if it.deliveries >= SUSPECT), key=lambda it: -it.deliveries)
            if entries := self._claimer.take([it for it in abandoned if it.deliveries < SUSPECT], idle):
                if len(entries) == count:
                    self._reclaimed_at = float("-inf")  # there are more: a hold that ended, or a long outage
                log.warning("reclaimed", entries=len(entries), why="their claim was handed back, or not renewed")
                return entries
        while self._suspects:
            if entries := self._take_suspect(self._suspects.pop(), idle):
                return entries
        return self._claimer.claim(count, self._settings.linger_seconds)

    def _take_suspect(self, suspect: Abandoned, idle: float) -> list[Entry]:
        """Claims it, while PostgreSQL answers: an outage must not count against it."""
        if not self._answers():
            self._suspects.clear()
            return []
        entries = self._claimer.take([suspect], idle)
        if entries:
            log.warning("trying an entry alone", entry=suspect.id, workers_lost=suspect.deliveries)
        return entries


def _size(entries: Iterable[Entry]) -> int:
    return sum(len(entry.packed) for entry in entries)
