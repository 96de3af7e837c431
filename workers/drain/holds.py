"""Holds a source when most of what it sends fails by a fault of ours, so that it does not become dead letters.

Our fault: a parser that fails, a format of another release, rows that PostgreSQL refuses, or a release that stops
understanding a source. A malformed payload is the source's own fault, and becomes a dead letter, however many there
are. A source that the workers do not know is held from its first callback on: they may get their configuration later
than the ingress.

The entries of a held source stay in the inbox, apart from the others. A trial of a few of them every half minute ends
the hold once they can be stored; `callbox resume` ends it by hand.
"""

import hashlib
import time
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from shared import logs
from shared.inbox import Abandoned, Hold, HoldRecords, Holds, Shard
from workers.dead_letters import WHOLE, Blame
from workers.drain.read import Parsed
from workers.drain.run import HELD, Run

WINDOW = 100  # latest callbacks of a source that are looked at
LEAST = 20  # callbacks, before which nothing is concluded
REFRESH_SECONDS = 1.0  # between two readings of what other workers found
TRIAL_SECONDS = 25  # between two trials of a held source: each second maintenance, at the latest, is one
TRIAL_COUNT = 20
# Of the inbox's limit: more of one source is drained in any case, so that the others keep their room.
HELD_SHARE, UNCONFIGURED_SHARE = 0.1, 0.5

log = logs.get(__name__)


class Verdict(NamedTuple):
    """Why a callback was not understood, and whose fault it is; None when it was understood."""

    blame: Blame | None
    reason: str = ""


_GOOD = Verdict(None)


def verdict(parsed: Parsed) -> Verdict:
    """The verdict on a callback as a whole: one bad event among good ones is no failure."""
    whole = (Verdict(dead.blame, dead.reason) for dead in parsed.dead_letters if dead.item == WHOLE)
    return next(whole, _GOOD)


def this_release() -> str:
    """Distinguishes the code that reads callbacks from that of any other release: a digest of its files."""
    digest = hashlib.blake2b(digest_size=8)
    for package in ("shared", "workers"):
        for file in _files_in(files(package)):
            digest.update(file.read_bytes())
    return digest.hexdigest()


class HoldPolicy:
    """Decides which sources are held. One for each worker process; its decisions count for all. Every method raises
    RedisUnavailable."""

    def __init__(self, shard: Shard, inbox_limit: int, release: str, configured: Collection[str]) -> None:
        self._holds = Holds(shard)
        self._inbox_limit = inbox_limit
        self._release = release
        self._configured = configured
        self._tried: set[str] = set()  # sources that workers did not know, and that this one tried when it knew them
        self._windows: dict[str, deque[Verdict]] = defaultdict(lambda: deque(maxlen=WINDOW))
        self._read_at = float("-inf")
        self._records = HoldRecords({}, {}, {})
        self._counts: Mapping[str, int] = {}

    def set_aside(self, batch: Sequence[Parsed], run: Run) -> list[Parsed]:
        """Sets the entries of held sources aside; the rest of the batch."""
        self._refresh()
        return self._without_held([(verdict(parsed), parsed) for parsed in batch], run)

    def set_aside_refused(self, refused: Sequence[Parsed], run: Run) -> list[Parsed]:
        """Of those that PostgreSQL refused, sets the entries of held sources aside; the rest."""
        for parsed in refused:  # so far it counted as understood
            with suppress(ValueError):
                self._windows[parsed.entry.source].remove(_GOOD)
        return self._without_held([(verdict(parsed), parsed) for parsed in refused], run)

    def due_trials(self) -> Iterator[tuple[str, list[Abandoned]]]:
        """Held sources that are due to be tried, each with a few of its entries."""
        self._refresh()
        for source, hold in list(self._records.held.items()):
            if self._begin_trial_if_due(source, hold) and (entries := self._holds.oldest(source, TRIAL_COUNT)):
                yield source, entries

    def end_hold(self, source: str) -> None:
        """The trial went well."""
        log.warning("drained again", source=source)
        self._windows.pop(source, None)
        self._holds.release(source)
        self._read_at = float("-inf")

    def put_back(self, source: str, run: Run) -> None:
        """Sets aside what is left of a trial; hands it back when the source is no longer held."""
        entries = run.unsettled
        if self._holds.set_aside(source, entries):
            run.forget(entries)
        else:
            run.hand_back(entries)

    def _without_held(self, judged: Sequence[tuple[Verdict, Parsed]], run: Run) -> list[Parsed]:
        by_source: dict[str, list[tuple[Verdict, Parsed]]] = defaultdict(list)
        for each in judged:
            by_source[each[1].entry.source].append(each)
        held = {source for source, group in by_source.items() if self._set_aside_if_held(source, group, run)}
        return [parsed for _, parsed in judged if parsed.entry.source not in held]

    def _set_aside_if_held(self, source: str, group: Sequence[tuple[Verdict, Parsed]], run: Run) -> bool:
        """Whether it was held, perhaps from now on."""
        if source not in self._records.held:
            self._judge(source, [found for found, _ in group])
        hold = self._records.held.get(source)
        if hold is None or self._counts.get(source, 0) >= self._most_held(hold):
            return False
        entries = [parsed.entry for _, parsed in group]
        if not self._holds.set_aside(source, entries):
            return False
        run.outcomes[source, HELD] += len(entries)
        run.forget(entries)
        return True

    def _judge(self, source: str, verdicts: Sequence[Verdict]) -> None:
        """Looks at the latest callbacks of a source: holds it, notes that this release understands it, or neither."""
        if self._records.waived.get(source) != self._release and any(
            each.blame is Blame.CONFIGURATION for each in verdicts
        ):
            self._hold(source, "it is not in the workers' configuration", unconfigured=True)
            return
        window = self._windows[source]
        window.extend(verdicts)
        is_proven = self._records.proven.get(source) == self._release
        if len(window) < LEAST or (is_proven and all(each is _GOOD for each in verdicts)):
            return
        blame, count = Counter(each.blame for each in window).most_common(1)[0]
        if 2 * count <= len(window) or self._records.waived.get(source) == self._release:
            return
        if blame is None:
            if not is_proven:
                self._holds.prove(source, self._release)
                self._read_at = float("-inf")
        elif self._is_our_fault(source, blame):
            reason = Counter(each.reason for each in window if each.blame is blame).most_common(1)[0][0]
            self._hold(source, f"{count} of its latest {len(window)} callbacks failed: {reason}")

    def _is_our_fault(self, source: str, blame: Blame) -> bool:
        """Whether callbacks of a source, most of which fail in this way, should wait for a fix."""
        proven = self._records.proven.get(source)
        return blame is Blame.OURS or proven not in (None, self._release)

    def _hold(self, source: str, why: str, unconfigured: bool = False) -> None:
        hold = Hold(why, time.time(), unconfigured)
        self._windows.pop(source, None)
        if self._holds.hold(source, hold):
            log.error("held", source=source, why=why, do=hold.remedy(source))
        self._holds.start_trial(source, TRIAL_SECONDS)  # the first real one comes later
        self._records = self._records._replace(held={**self._records.held, source: hold})

    def _begin_trial_if_due(self, source: str, hold: Hold) -> bool:
        """Whether it was due. A worker that has just got a source into its configuration tries it at once; one that has
        not, never."""
        if hold.unconfigured:
            if source not in self._configured:
                self._tried.discard(source)
                return False
            if source not in self._tried:
                self._tried.add(source)
                return True
        return self._holds.start_trial(source, TRIAL_SECONDS)

    def _most_held(self, hold: Hold) -> int:
        return round(self._inbox_limit * (UNCONFIGURED_SHARE if hold.unconfigured else HELD_SHARE))

    def _refresh(self) -> None:
        if time.monotonic() - self._read_at < REFRESH_SECONDS:
            return
        self._read_at = time.monotonic()
        self._records = self._holds.read()
        self._counts = self._holds.counts() if self._records.held else {}


def _files_in(folder: Traversable) -> Iterable[Traversable]:
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.is_dir():
            yield from _files_in(file)
        elif file.name.endswith((".py", ".sql")):
            yield file
