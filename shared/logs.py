"""One JSON line per event, on standard error. Never a phone number, a text or a secret.

What may be logged is up to the caller; this file sees to it that nothing slips in from the side: of an exception
only its type and our own code's lines are written, since a driver's message may hold a row. That holds for exceptions
that were not caught, and for what Python warns of, too.
"""

import asyncio
import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import structlog
import structlog.typing

from shared.errors import Malformed, Rejected, Unavailable

# The first one's lines hold whole URLs: tokens, and the phone numbers of receipts sent by GET. The second's hold what
# PostgreSQL reported about an error that hid another one: it may cite a row. The third's are of who looks at Flower.
_NEVER = ("uvicorn.access", "psycopg", "tornado.access")
# A line for each doorbell, and for each process that starts: ours has more.
_RARELY = ("celery.worker.strategy", "celery.app.trace", "celery.beat", "multiprocessing")
_OURS = (Rejected, Malformed, Unavailable)


def configure(level: str) -> None:
    """Sends our events and those of every library, from `level` (debug, info, warning, error) up, to stderr."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _name_exception,
    ]
    handler = _Handler(sys.stderr)
    handler.addFilter(_has_no_url)
    handler.addFilter(_without_arguments)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    for other in logging.root.manager.loggerDict.values():
        if isinstance(other, logging.Logger):  # such as uvicorn's, which brings handlers of its own
            other.handlers.clear()
            other.propagate = True
    for name in _NEVER:
        # Disabled, and without any handler: uvicorn then does not even make the lines.
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = False
        logging.getLogger(name).disabled = True
    logging.lastResort = logging.NullHandler()  # what finds no handler, as from below those, is not printed either
    for name in _RARELY:
        logging.getLogger(name).setLevel(logging.WARNING)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(True)
    _log_what_is_not_caught()


def write_line(level: str, logger: str, event: str) -> None:
    """Writes a line past all that may be under way in this thread: for a handler of signals, and when logging fails."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    line = json.dumps({"event": event, "logger": logger, "level": level, "time": now})
    with suppress(OSError, ValueError):  # standard error is closed, or its disk full
        os.write(sys.stderr.fileno(), f"{line}\n".encode())


class _Handler(logging.StreamHandler[Any]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name of the library
        """The library would print the record with its arguments."""
        kind = sys.exc_info()[0]
        write_line("error", record.name, f"a line could not be logged ({kind.__name__ if kind else 'unknown'})")


def _log_what_is_not_caught() -> None:
    """Python itself would print the messages of exceptions."""
    log = get(__name__)

    def in_main(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
        log.critical("ended by an error that was not caught", exc_info=error)

    def in_thread(failed: threading.ExceptHookArgs) -> None:
        name = failed.thread.name if failed.thread else ""
        log.error("a thread ended by an error that was not caught", thread=name, exc_info=failed.exc_value)

    def unraisable(failed: Any) -> None:
        log.error("an error that could not be raised", exc_info=failed.exc_value)

    sys.excepthook, threading.excepthook, sys.unraisablehook = in_main, in_thread, unraisable


def _has_no_url(record: logging.LogRecord) -> bool:
    """Keeps out what uvicorn logs of a WebSocket's handshake, which holds its whole URL."""
    return not (record.name == "uvicorn.error" and "WebSocket" in str(record.msg))


def _without_arguments(record: logging.LogRecord) -> bool:
    """Of what asyncio logs of a failed callback, keeps what comes before the callback's arguments: they may be data."""
    if record.name == "asyncio":
        record.msg = record.getMessage().partition("\n")[0].partition("(")[0].partition("<")[0].rstrip()
        record.args = ()
    return True


def get(name: str) -> Any:
    """The logger of one module."""
    return structlog.stdlib.get_logger(name)


class Limited:
    """Logs that a stranger can cause: the first of each kind at once, the others as a count after a minute.

    For the event loop of one process.
    """

    def __init__(self, log: Any, seconds: float = 60.0) -> None:
        self._log = log
        self._seconds = seconds
        self._more: dict[tuple[str, str, tuple[tuple[str, str], ...]], int] = {}

    def warning(self, event: str, kind: Mapping[str, str], **detail: Any) -> None:
        """`kind` has few values, a stranger must not make up new ones; `detail` is that of the first one only."""
        self._note("warning", event, kind, detail)

    def error(self, event: str, kind: Mapping[str, str], **detail: Any) -> None:
        self._note("error", event, kind, detail)

    def flush(self) -> None:
        """Logs what was only counted."""
        more, self._more = self._more, {}
        for (level, event, kind), count in more.items():
            if count:
                getattr(self._log, level)(event, **dict(kind), more=count, seconds=self._seconds)

    def _note(self, level: str, event: str, kind: Mapping[str, str], detail: Mapping[str, Any]) -> None:
        key = (level, event, tuple(kind.items()))
        if key in self._more:
            self._more[key] += 1
            return
        if not self._more:
            asyncio.get_running_loop().call_later(self._seconds, self.flush)
        self._more[key] = 0
        getattr(self._log, level)(event, **kind, **detail)


def _name_exception(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    elif isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if not info or info[1] is None:
        return event
    error = info[1]
    event["error"] = str(error) if isinstance(error, _OURS) else type(error).__name__
    last = traceback.extract_tb(info[2])[-3:]
    event["at"] = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in last]
    return event
