"""The breaker: when most of what a source sends fails by a fault of ours, the source is held instead of buried.

A fault of ours is a parser that breaks, a format of another release, rows that PostgreSQL refuses, a configuration that
lacks the sources most callbacks come from, and a release that understands nothing of a source which the release before
it understood. What a source gets wrong itself (`Malformed`) is none: that becomes dead letters, however much it is.

The entries of a held source stay in the inbox, out of everyone's way. A trial of a few of them every half minute ends
the hold once they can be stored; `callbox resume` ends it by hand.
"""

import hashlib
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Literal, NamedTuple

from shared import inbox, logs
from shared.inbox import Board, Claimer, Entry, Hold, Holds
from workers.parse import PARSER_FAILED, WHOLE, Letter, Parsed

WINDOW = 100  # latest callbacks of a source that are looked at
LEAST = 20  # before so many nothing is concluded
REFRESH_SECONDS = 1.0  # between two looks at what other workers found
TRIAL_SECONDS = 30  # between two trials of a held source
TRIAL_COUNT = 20
HELD_SHARE = 0.1  # of the inbox's limit: more of one source is drained after all, so that the others keep their room

Kind = Literal["good", "malformed", "fault", "unconfigured"]

log = logs.get(__name__)


class Verdict(NamedTuple):
    """Whether a callback was understood, and who is to blame if not."""

    kind: Kind
    reason: str = ""


_GOOD = Verdict("good")


def verdict(parsed: Parsed) -> Verdict:
    """The verdict on a callback as a whole: one bad event among good ones is no failure."""
    return next((_verdict(letter) for letter in parsed.letters if letter.item == WHOLE), _GOOD)


def _verdict(letter: Letter) -> Verdict:
    if letter.stage == "source":
        return Verdict("unconfigured", letter.reason)
    if letter.stage in ("unpack", "store") or letter.reason == PARSER_FAILED:
        return Verdict("fault", letter.reason)
    return Verdict("malformed", letter.reason)


def this_release() -> str:
    """Tells the code that reads callbacks from that of any other release: a digest of its files."""
    digest = hashlib.blake2b(digest_size=8)
    for package in ("shared", "workers"):
        for file in _sources_in(files(package)):
            digest.update(file.read_bytes())
    return digest.hexdigest()


class Breaker:
    """One for each worker process; what it finds counts for all. Every method raises redis.RedisError."""

    def __init__(self, claimer: Claimer, inbox_limit: int, release: str) -> None:
        self._claimer = claimer
        self._holds = Holds(claimer.client)
        self._most_held = round(inbox_limit * HELD_SHARE)
        self._release = release
        self._unconfigured: set[str] = set()  # sources whose latest callbacks belong to nobody
        self._windows: dict[str, deque[Verdict]] = defaultdict(lambda: deque(maxlen=WINDOW))
        self._read_at = float("-inf")
        self._board = Board({}, {}, {})
        self._counts: Mapping[str, int] = {}

    def sift(self, batch: Sequence[Parsed]) -> list[Parsed]:
        """Those to be stored; the others are held, and no longer this worker's."""
        self._read()
        return [parsed for _, parsed in self._sift([(verdict(parsed), parsed) for parsed in batch])]

    def sift_refused(self, refused: Sequence[Parsed]) -> list[Parsed]:
        """Of those that PostgreSQL refused, the ones to become dead letters; the others are held."""
        for it in refused:  # it was taken for good so far
            with suppress(ValueError):
                self._windows[it.entry.source].remove(_GOOD)
        return [parsed for _, parsed in self._sift([(Verdict("fault", "refused by PostgreSQL"), it) for it in refused])]

    def trials(self) -> Iterable[tuple[str, list[Entry]]]:
        """Sources to be tried again, with a few of their entries, claimed."""
        self._read()
        for source in list(self._board.held):
            if self._holds.may_try(source, TRIAL_SECONDS):
                entries = self._claimer.held(source, TRIAL_COUNT)
                if entries:
                    yield source, entries

    def resume(self, source: str) -> None:
        """Ends a hold: the trial went well."""
        log.warning("drained again", source=source)
        self._windows.pop(source, None)
        resume(self._claimer, source)
        self._read_at = float("-inf")

    def _sift(self, judged: Sequence[tuple[Verdict, Parsed]]) -> list[tuple[Verdict, Parsed]]:
        by_source: dict[str, list[tuple[Verdict, Parsed]]] = defaultdict(list)
        for it in judged:
            by_source[it[1].entry.source].append(it)
            (self._unconfigured.add if it[0].kind == "unconfigured" else self._unconfigured.discard)(it[1].entry.source)
        aside: set[str] = set()
        for source, its in by_source.items():
            if source not in self._board.held:
                self._judge(source, [verdict for verdict, _ in its])
            held = source in self._board.held and self._counts.get(source, 0) < self._most_held
            if held and self._claimer.hold(source, [parsed.entry for _, parsed in its]):
                aside.add(source)
        return [it for it in judged if it[1].entry.source not in aside]

    def _judge(self, source: str, verdicts: Sequence[Verdict]) -> None:
        window = self._windows[source]
        window.extend(verdicts)
        proven = self._board.proven.get(source)
        if len(window) < LEAST or (proven == self._release and all(it is _GOOD for it in verdicts)):
            return
        kind, count = Counter(it.kind for it in window).most_common(1)[0]
        if 2 * count <= len(window) or self._board.waived.get(source) == self._release:
            return
        if kind == "good":
            if proven != self._release:
                self._holds.prove(source, self._release)
                self._read_at = float("-inf")
        elif (
            kind == "fault"
            or (kind == "malformed" and proven not in (None, self._release))
            or (kind == "unconfigured" and self._most_are_unconfigured())
        ):
            reason = Counter(it.reason for it in window if it.kind == kind).most_common(1)[0][0]
            self._trip(source, f"{count} of its latest {len(window)} callbacks failed: {reason}")

    def _trip(self, source: str, why: str) -> None:
        hold = Hold(why, time.time())
        self._windows.pop(source, None)
        if self._holds.hold(source, hold):
            log.error("held", source=source, why=why, do="mend the release, or `callbox resume` it as it is")
        self._holds.may_try(source, TRIAL_SECONDS)  # the first trial comes a while later
        self._board = self._board._replace(held={**self._board.held, source: hold})

    def _most_are_unconfigured(self) -> bool:
        """Whether the sources that are nobody's brought most of all callbacks so far: then the configuration is wrong.
        A single one that was taken out of it is meant."""
        appended = {name: its["appended"] for name, its in inbox.look(self._claimer.client).ledger.items()}
        return 2 * sum(appended.get(name, 0) for name in self._unconfigured) > sum(appended.values())

    def _read(self) -> None:
        if time.monotonic() - self._read_at < REFRESH_SECONDS:
            return
        self._read_at = time.monotonic()
        self._board = self._holds.read()
        self._counts = self._claimer.held_counts() if self._board.held else {}


def resume(claimer: Claimer, source: str) -> None:
    """Ends the hold of a source and lets any worker take its entries."""
    Holds(claimer.client).free(source)
    claimer.free(source)


def _sources_in(folder: Traversable) -> Iterable[Traversable]:
    for it in sorted(folder.iterdir(), key=lambda it: it.name):
        if it.is_dir():
            yield from _sources_in(it)
        elif it.name.endswith((".py", ".sql")):
            yield it
