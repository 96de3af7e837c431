"""How much goes through the spools while it happens: the files of each ingress, looked at again and again."""

import asyncio
import sqlite3
import time
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tests.failover.senders import is_accepted
from tests.load.client import Answer

LOOK_SECONDS = 0.1
STEADY_SECONDS = 2.0  # without a callback for the spool


class Look(NamedTuple):
    at: float  # of the monotonic clock
    spooled: int  # callbacks that were put into the files, ever


class Watch:
    """The spool of one ingress."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers: dict[str, int] = {}  # by file, the last number given; numbers never come again
        self.looks: list[Look] = []

    async def run(self) -> None:
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        for path in self._folder.glob("*.spool"):
            with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
                for (number,) in connection.execute("SELECT seq FROM sqlite_sequence"):
                    self._numbers[path.name] = number
        self.looks.append(Look(time.monotonic(), sum(self._numbers.values())))

    def spooled(self, since: float = 0.0) -> int:
        """How many callbacks were put into the spool since then."""
        return self.looks[-1].spooled - self.looks[max(0, self._before(since))].spooled if self.looks else 0

    def is_steady(self) -> bool:
        """Whether the spool has got nothing for a while."""
        since = time.monotonic() - STEADY_SECONDS
        return bool(self.looks) and self.looks[0].at < since and not self.spooled(since)

    def seconds_without_redis(self, answers: Sequence[Answer], since: float, until: float) -> float:
        """The time in which Redis acknowledged nothing: between two looks nothing was acknowledged, or most of it came
        from the spool. `answers` are those of this ingress."""
        at = sorted(answer.sent_at + answer.seconds for answer in answers if is_accepted(answer))
        looks = [look for look in self.looks if since - LOOK_SECONDS < look.at <= until]
        seconds = 0.0
        for before, after in pairwise(looks):
            acknowledged = bisect_right(at, after.at) - bisect_right(at, before.at)
            if after.spooled - before.spooled >= acknowledged / 2:
                seconds += after.at - before.at
        return seconds

    def _before(self, at: float) -> int:
        return bisect_right(self.looks, at, key=lambda look: look.at) - 1
