"""The replay of refused requests: what proves itself now goes to the inbox, as an ingress would have sent it there."""

import asyncio
from collections import Counter
from collections.abc import Iterator

from ingress.reproof import Reproof
from shared.callback import Callback, pack
from shared.errors import Rejected
from shared.inbox import KeptRequest, Quarantine, Shards
from shared.settings import Settings

GROUP = 16  # requests that are appended together: up to 1 MiB of those that providers send


class Replay:
    """`counts` has how many are proven (None), and how many are refused still, by reason."""

    def __init__(self, quarantine: Quarantine, reproof: Reproof, settings: Settings) -> None:
        self.counts: Counter[str | None] = Counter()
        self._quarantine = quarantine
        self._reproof = reproof
        self._settings = settings

    def run(self, source: str, dry: bool) -> Iterator[None]:
        """Yields whenever callbacks are in the inbox. Raises RedisUnavailable: then what was not appended is still in
        the quarantine."""
        shards = Shards.connect(self._settings)
        with asyncio.Runner() as runner:
            try:
                for group in self._quarantine.oldest(source, GROUP):
                    proven = self._proven(group)
                    if proven and not dry:
                        pairs = [(source, pack(callback)) for callback in proven.values()]
                        runner.run(shards.move(pairs, self._settings.move_seconds))
                        self._quarantine.remove(source, list(proven))
                        yield
                    self.counts[None] += len(proven)
            finally:
                runner.run(shards.close())

    def _proven(self, group: list[KeptRequest]) -> dict[bytes, Callback]:
        """Those that prove themselves now, by their members; counts the others."""
        proven = {}
        for member, request in group:
            try:
                proven[member] = self._reproof.prove(request)
            except Rejected as rejected:
                self.counts[rejected.reason] += 1
        return proven
