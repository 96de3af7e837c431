"""One inbox entry → its callback, its events, and dead letters for what cannot be understood (promise P5). It reads and
writes nothing, but for the log."""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from shared import logs
from shared.callback import Callback, new_id, unpack
from shared.errors import Malformed
from shared.events import Event
from shared.inbox import Entry
from shared.outcomes import Stage
from shared.providers import PROVIDERS
from shared.source import Source
from workers.classify import classify
from workers.dead_letters import WHOLE, Blame, DeadLetter
from workers.drain.intake import SUSPECT

UNKNOWN = "unknown"
ITEMS = 1000  # events and dead letters of one callback, at most
ALONE = 3  # times that a suspect is tried; then it is a dead letter

log = logs.get(__name__)


class Parsed(NamedTuple):
    """What an entry reports."""

    entry: Entry
    callback: Callback
    events: list[Event]
    dead_letters: list[DeadLetter]


def read(entry: Entry, sources: Mapping[str, Source]) -> Parsed:
    """Everything the entry reports. Never raises: what goes wrong becomes a dead letter."""
    try:
        callback = unpack(entry.packed)
    except Malformed as error:
        dead_letter = DeadLetter(WHOLE, Stage.UNPACK, error.reason, error.detail, Blame.OURS)
        return Parsed(entry, _stand_in(entry, sources), [], [dead_letter])
    source = sources.get(callback.source)
    if source is None or source.provider != callback.provider:
        detail = f"no source {callback.source} of {callback.provider} in the workers' configuration"
        dead_letter = DeadLetter(WHOLE, Stage.SOURCE, "source not configured", detail, Blame.CONFIGURATION)
        return Parsed(entry, callback, [], [dead_letter])
    parsed = Parsed(entry, callback, [], [])
    for item, found in enumerate(_events(callback, source)):
        if item == ITEMS:
            dead_letter = DeadLetter(WHOLE, Stage.PARSE, "too many events", f"more than {ITEMS}")
            return Parsed(entry, callback, [], [dead_letter])
        if isinstance(found, DeadLetter):
            parsed.dead_letters.append(found._replace(item=item) if found.item != WHOLE else found)
        else:
            parsed.events.append(found)
    return parsed


def read_unless_deadly(entry: Entry, sources: Mapping[str, Source]) -> Parsed:
    """What the entry reports; its dead letter, unread, when it crashed too many workers."""
    if entry.deliveries <= SUSPECT + ALONE:
        return read(entry, sources)
    detail = (
        f"{entry.deliveries - 1} times a worker took it and could not finish, the last {ALONE} with nothing else: the"
        " worker ended, or PostgreSQL lacked time or memory (see the log)"
    )
    log.error("made a dead letter", entry=entry.id, source=entry.source, why=detail)
    try:
        callback = unpack(entry.packed)
    except Malformed:
        callback = _stand_in(entry, sources)
    return Parsed(entry, callback, [], [DeadLetter(WHOLE, Stage.DRAIN, "crashes its worker", detail)])


def stand_in_id(entry_id: str) -> UUID:
    """The id of the callback made for an entry whose bytes cannot be unpacked; those bytes are its body."""
    return new_id(_appended_at(entry_id), hashlib.blake2b(entry_id.encode(), digest_size=10).digest())


def _events(callback: Callback, source: Source) -> Iterator[Event | DeadLetter]:
    try:
        for found in PROVIDERS[source.provider].parse(callback, source):
            if isinstance(found, Malformed):
                yield DeadLetter(0, Stage.PARSE, found.reason, found.detail)
            else:
                yield classify(found, source)
    except Malformed as error:
        yield DeadLetter(WHOLE, Stage.PARSE, error.reason, error.detail)
    except Exception as error:
        # A parser's own fault: the callback waits among the dead letters for the release that fixes it.
        log.error("parser failed", source=source.name, provider=source.provider, exc_info=error)
        yield DeadLetter(WHOLE, Stage.PARSE, "parser failed", type(error).__name__, Blame.OURS)


def _stand_in(entry: Entry, sources: Mapping[str, Source]) -> Callback:
    """A callback for bytes that cannot be unpacked, so that they end as a row too; the same one at each reading."""
    received_at = _appended_at(entry.id)
    source = sources.get(entry.source)
    return Callback(
        id=stand_in_id(entry.inbox_id),
        source=entry.source.replace("\0", "") or UNKNOWN,
        provider=source.provider if source else UNKNOWN,
        received_at=received_at,
        method="",
        body=entry.packed,
    )


def _appended_at(entry_id: str) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(entry_id.partition("-")[0]))
