"""One inbox entry → its callback, its events, and dead letters for what cannot be understood (promise P5)."""

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
from shared.providers import PROVIDERS
from shared.source import Source
from workers.classify import classify

WHOLE = -1  # the item of a letter about the callback as a whole
UNKNOWN = "unknown"
PARSER_FAILED = "the parser failed"  # the reason of a letter that is no fault of the callback's
ITEMS = 1000  # events and letters of one callback, at most

log = logs.get(__name__)


class Letter(NamedTuple):
    """A dead letter: what was not understood (an event's place in the callback, or WHOLE), where and why."""

    item: int
    stage: str
    reason: str
    detail: str


class Parsed(NamedTuple):
    entry: Entry
    callback: Callback
    events: list[Event]
    letters: list[Letter]


def read(entry: Entry, sources: Mapping[str, Source]) -> Parsed:
    """Everything the entry says. Never raises: what goes wrong becomes a letter."""
    try:
        callback = unpack(entry.packed)
    except Malformed as error:
        return Parsed(entry, _stand_in(entry, sources), [], [Letter(WHOLE, "unpack", error.reason, error.detail)])
    source = sources.get(callback.source)
    if source is None or source.provider != callback.provider:
        detail = f"no source {callback.source} of {callback.provider} in the workers' configuration"
        return Parsed(entry, callback, [], [Letter(WHOLE, "source", "source not configured", detail)])
    parsed = Parsed(entry, callback, [], [])
    for item, found in enumerate(_events(callback, source)):
        if item == ITEMS:
            return Parsed(entry, callback, [], [Letter(WHOLE, "parse", "too many events", f"more than {ITEMS}")])
        if isinstance(found, Letter):
            parsed.letters.append(found._replace(item=item) if found.item != WHOLE else found)
        else:
            parsed.events.append(found)
    return parsed


def bury(entry: Entry, sources: Mapping[str, Source], letter: Letter) -> Parsed:
    """The entry as a dead letter, raw and unread."""
    try:
        callback = unpack(entry.packed)
    except Malformed:
        callback = _stand_in(entry, sources)
    return Parsed(entry, callback, [], [letter])


def stand_in_id(entry_id: str) -> UUID:
    """The id of the callback that stands for an entry whose bytes cannot be unpacked: its body is those bytes."""
    return new_id(_appended_at(entry_id), hashlib.blake2b(entry_id.encode(), digest_size=10).digest())


def _events(callback: Callback, source: Source) -> Iterator[Event | Letter]:
    try:
        for found in PROVIDERS[source.provider].parse(callback, source):
            if isinstance(found, Malformed):
                yield Letter(0, "parse", found.reason, found.detail)
            else:
                yield classify(found, source)
    except Malformed as error:
        yield Letter(WHOLE, "parse", error.reason, error.detail)
    except Exception as error:
        # A parser's own fault: the callback waits among the dead letters for the release that mends it.
        log.error("parser failed", source=source.name, provider=source.provider, exc_info=error)
        yield Letter(WHOLE, "parse", PARSER_FAILED, type(error).__name__)


def _stand_in(entry: Entry, sources: Mapping[str, Source]) -> Callback:
    """A callback for bytes that are none, so that they too end as a row; the same one each time they are read."""
    received_at = _appended_at(entry.id)
    source = sources.get(entry.source)
    return Callback(
        id=stand_in_id(entry.id),
        source=entry.source.replace("\0", "") or UNKNOWN,
        provider=source.provider if source else UNKNOWN,
        received_at=received_at,
        method="",
        body=entry.packed,
    )


def _appended_at(entry_id: str) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(entry_id.partition("-")[0]))
