"""The end of a batch: acknowledges what is in PostgreSQL, and finds a place for what PostgreSQL refused."""

from collections.abc import Sequence
from datetime import UTC, datetime

from shared import logs
from shared.errors import Unavailable
from shared.inbox import REPEAT, Done
from workers.drain.count import count
from workers.drain.holds import HoldPolicy
from workers.drain.read import Parsed
from workers.drain.run import Run
from workers.drain.store import Refused, Result, Store
from workers.rows import Stored
from workers.tally import Tally

CONFLICT = "conflict"  # the oddity of a callback that repeats the key of an event with another content

log = logs.get(__name__)


def settle(
    batch: Sequence[Parsed], results: Sequence[Result], run: Run, holds: HoldPolicy, store: Store, tally: Tally
) -> None:
    """Acknowledges and counts what was stored. What PostgreSQL refused is held with its source, or becomes a dead
    letter; what only took too much is handed back. Raises RedisUnavailable."""
    stored = [(parsed, each) for parsed, each in zip(batch, results, strict=True) if isinstance(each, Stored)]
    refused = [(parsed, each) for parsed, each in zip(batch, results, strict=True) if isinstance(each, Refused)]
    certain: list[Parsed] = []
    for parsed, refusal in refused:
        if refusal.certain:
            certain.append(parsed._replace(events=[], dead_letters=[refusal.dead_letter]))
        else:
            log.warning("could not store an entry", entry=parsed.entry.id, why=refusal.dead_letter.detail)
            run.hand_back([parsed.entry], blamed=True)
    _acknowledge(stored, run, tally)
    for parsed in holds.set_aside_refused(certain, run):
        try:
            _acknowledge([(parsed, store.store_dead(parsed))], run, tally)
        except Unavailable as error:
            log.warning("could not store a dead letter", entry=parsed.entry.id, why=str(error))
            run.hand_back([parsed.entry])


def settle_trial(good: Sequence[Parsed], results: Sequence[Result], run: Run, tally: Tally) -> int:
    """The same for what was stored of a held source; how much. The rest stays claimed. Raises RedisUnavailable."""
    stored = [(parsed, each) for parsed, each in zip(good, results, strict=True) if isinstance(each, Stored)]
    _acknowledge(stored, run, tally)
    return len(stored)


def _acknowledge(stored: Sequence[tuple[Parsed, Stored]], run: Run, tally: Tally) -> None:
    committed_at = datetime.now(UTC)
    run.acknowledge([_done(parsed, each) for parsed, each in stored])
    count(stored, committed_at, tally)


def _done(parsed: Parsed, stored: Stored) -> Done:
    """How the ledger counts a callback. A repeat was counted, with its oddities, under the other entry."""
    if stored.repeat:
        return Done(parsed.entry, REPEAT)
    oddities = {note for event in parsed.events for note in event.extra.get("notes", ())}
    if stored.conflict:
        oddities.add(CONFLICT)
    return Done(parsed.entry, stored.outcome, sorted(oddities))
