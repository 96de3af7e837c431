"""`callbox tail`: events as they are committed."""

import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import click
import psycopg

from deploy.commands.options import (
    WholeNumber,
    complete_source,
    configured_system_options,
    json_option,
    reveal_option,
)
from deploy.commands.refused import Row
from deploy.commands.sources import check_name
from deploy.output import let_go_of_output, write, write_error
from deploy.privacy import shown
from deploy.system import System
from deploy.text import as_json_line, first_line, one_line
from shared.inbox import Known, Quarantine, RedisUnavailable
from workers.follow import FollowedRow, Follower
from workers.queries import Queries

LOOK_SECONDS = 0.3  # from one look at PostgreSQL to the next
RETRY_SECONDS = 1.0  # from one try to reach PostgreSQL to the next
MOST_BEFORE = 1000  # events from before that it may begin with
OVERLAP_MS = 5000  # of Redis's clock that the next look sees again: after a failover it may be another one's
KINDS = {"message": "MO", "report": "receipt", "dead_letter": "dead letter"}


_LOST = (psycopg.OperationalError, psycopg.InterfaceError)

Show = Callable[[list[FollowedRow]], None]
ShowRefused = Callable[[list[Row]], None]


class RefusedFollower:
    """What comes into the quarantine, each request once.

    A look reads only what is new: bodies of a flood, read again and again, would keep Redis from the callbacks.
    """

    def __init__(self, source: str | None) -> None:
        self._source = source
        self._since_ms = 0
        self._seen: dict[bytes, int] = {}  # members since then, and since when they are there

    def look(self, quarantine: Quarantine, most: int = MOST_BEFORE) -> list[Row]:
        """The requests that came since the last look, in the order in which they came, at most the latest `most` of
        each source. Raises RedisUnavailable."""
        sources = [self._source] if self._source else quarantine.sources()
        found = {source: quarantine.known_since(source, self._since_ms, MOST_BEFORE) for source in sources}
        rows: list[Row] = []
        for source, known in found.items():
            new = [each.member for each in known if each.member not in self._seen][:most]
            rows += [Row.of(kept.refused) for kept in quarantine.read(source, new)]
        self._note([each for known in found.values() for each in known])
        return sorted(rows, key=lambda row: row.received_at)

    def _note(self, known: list[Known]) -> None:
        latest_ms = max((each.since_ms for each in known), default=self._since_ms)
        self._since_ms = max(self._since_ms, latest_ms - OVERLAP_MS)
        seen = {**self._seen, **{each.member: each.since_ms for each in known}}
        self._seen = {member: since_ms for member, since_ms in seen.items() if since_ms >= self._since_ms}


@click.command()
@click.argument("source_name", metavar="[SOURCE]", required=False, shell_complete=complete_source)
@click.option(
    "--last",
    default=0,
    show_default=True,
    metavar="N",
    type=WholeNumber(0, MOST_BEFORE),
    help="Begin with the latest N.",
)
@click.option("--refused", "is_refused", is_flag=True, help="Requests that failed their proof, instead of events.")
@reveal_option
@json_option
@configured_system_options
def tail(source_name: str | None, last: int, is_refused: bool, reveal: bool, json_wanted: bool, system: System) -> None:
    """Show events of SOURCE, or of all sources, as they are committed, and dead letters, until Ctrl-C.

    Each once, in the order of their transactions. While PostgreSQL is away it waits, and misses nothing.
    """
    if source_name is not None:
        check_name(source_name, system)

    def show(rows: list[FollowedRow]) -> None:
        write(*(as_json_line(_document(row, reveal)) if json_wanted else _line(row, reveal) for row in rows))

    def show_refused(rows: list[Row]) -> None:
        write(*(as_json_line(row) if json_wanted else _refused_line(row) for row in rows))

    with _until_the_end():
        if is_refused:
            _follow_refused(RefusedFollower(source_name), last, system, show_refused)
        follower = Follower(source_name)
        with system.queries() as queries:
            rows = follower.begin(queries)
            show(rows[len(rows) - min(last, len(rows)) :])
            error = _follow(follower, queries, show)
        while True:
            write_error(f"callbox: PostgreSQL does not answer ({first_line(error)}): waiting for it")
            with _reach(system) as queries:
                write_error("callbox: PostgreSQL answers again")
                error = _follow(follower, queries, show)


def _follow(follower: Follower, queries: Queries, show: Show) -> psycopg.Error:
    """Shows what becomes visible, until the connection is lost: its error."""
    while True:
        try:
            rows = follower.look(queries)
        except _LOST as error:
            return error
        show(rows)
        if not follower.is_behind:
            _pause(LOOK_SECONDS)


def _reach(system: System) -> Queries:
    """A new connection, as soon as there is one."""
    while True:
        _pause(RETRY_SECONDS)
        with suppress(*_LOST):
            return system.queries()


def _follow_refused(follower: RefusedFollower, last: int, system: System, show: ShowRefused) -> NoReturn:
    """Shows what is refused. Raises RedisUnavailable at first; later on it waits."""
    with system.inbox() as inbox:
        quarantine = Quarantine(inbox.first)
        before = follower.look(quarantine, last)
        show(before[len(before) - min(last, len(before)) :])
        is_away = False
        while True:
            _pause(RETRY_SECONDS if is_away else LOOK_SECONDS)
            try:
                rows = follower.look(quarantine)
            except RedisUnavailable as error:
                if not is_away:
                    write_error(f"callbox: {error}: waiting for it")
                is_away = True
                continue
            if is_away:
                write_error("callbox: Redis answers again")
            is_away = False
            show(rows)


def _pause(seconds: float) -> None:
    """Raises BrokenPipeError as soon as no one reads any more, which without a new event no writing would show."""
    if sys.stdout is None:  # it was closed before the start
        raise BrokenPipeError
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)  # errors are reported without asking for them
    if output.poll(seconds * 1000):
        raise BrokenPipeError


@contextmanager
def _until_the_end() -> Iterator[None]:
    """Ctrl-C and a reader that has seen enough (`| head`) are the ways to end this command, not failures."""
    try:
        yield
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        let_go_of_output()


def _document(row: FollowedRow, reveal: bool) -> dict[str, Any]:
    """All of a row for programs. Its age is of no use to them."""
    return {name: value for name, value in shown(row, reveal).items() if name != "age"}


def _line(row: FollowedRow, reveal: bool) -> str:
    """A row for people: what kind of event, from whom to whom, its content, and by what `find` finds it."""
    values = shown(row, reveal)
    way = "" if row.kind == "dead_letter" else f"{values['sender'] or '–'} → {values['recipient'] or '–'}"
    content = {
        "message": [row.intent if row.intent != "none" else None, row.traffic, values["text"] or _length(row.text)],
        "report": [row.status, row.reason, row.error_code],
        "dead_letter": [row.reason, row.detail],
    }[row.kind]
    found_by = f"message {row.message_id}" if row.message_id else f"callback {row.callback_id}"
    parts = [way, "  ".join(part for part in content if part), found_by]
    head = f"{row.received_at:%F %T}  {row.source:12}  {KINDS[row.kind]:11}"
    return "  ".join([head, *(one_line(part) for part in parts if part)])


def _refused_line(row: Row) -> str:
    """Why it was refused, and by what `refused explain` finds it."""
    parts = (row.reason, f"from {row.address or '–'}", row.method, row.path, f"request {row.id}")
    return "  ".join([f"{row.received_at:%F %T}  {row.source:12}  refused    ", *map(one_line, parts)])


def _length(text: str | None) -> str:
    return f"{len(text or '')} characters"
