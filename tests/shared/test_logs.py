"""One JSON line per event, and nothing that slips in from the side."""

import asyncio
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from shared import logs
from shared.errors import Malformed, Rejected, Unavailable

SECRET = "+4915112345678 says s3cret"

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """What was written to standard error since it was last asked, after `logs.configure`; then all is as before."""
    root, known = logging.getLogger(), logging.root.manager.loggerDict
    handlers, level, last_resort = list(root.handlers), root.level, logging.lastResort
    configured = structlog.get_config()
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    before = {
        name: (list(logger.handlers), logger.propagate, logger.level)
        for name, logger in known.items()
        if isinstance(logger, logging.Logger)
    }

    def read() -> list[dict[str, Any]]:
        printed = capsys.readouterr()
        assert printed.out == ""
        return [json.loads(line) for line in printed.err.splitlines()]

    yield read
    structlog.configure(**configured)
    logging.captureWarnings(False)
    logging.lastResort = last_resort
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    root.handlers = handlers
    root.setLevel(level)
    for name, logger in known.items():
        if isinstance(logger, logging.Logger):
            logger.handlers, logger.propagate, level = before.get(name, ([], True, logging.NOTSET))
            logger.setLevel(level)


def fail(depth: int) -> None:
    if depth:
        fail(depth - 1)
    try:
        raise KeyError(SECRET)
    except KeyError as cause:
        failure = ValueError(f"invalid: {SECRET}")
        failure.add_note(SECRET)
        raise failure from cause


@pytest.fixture
def error() -> Exception:
    """A foreign exception from far below with a message, a cause and a note: each holds what must not be logged."""
    with pytest.raises(ValueError, match="invalid") as raised:
        fail(5)
    return raised.value


def test_an_event_is_one_line_of_json_with_its_time_level_and_logger(lines: Lines) -> None:
    logs.configure("info")
    logs.get("tests.one").info("drained", stored=3, why="two\nlines")
    (line,) = lines()
    written = datetime.fromisoformat(line.pop("time"))
    assert written.utcoffset() == timedelta(0)
    assert line == {"event": "drained", "stored": 3, "why": "two\nlines", "level": "info", "logger": "tests.one"}


def test_a_library_speaks_in_the_same_form(lines: Lines) -> None:
    logs.configure("info")
    logging.getLogger("redis").warning("lost %s of %d", "one", 2)
    (line,) = lines()
    assert (line["event"], line["level"], line["logger"]) == ("lost one of 2", "warning", "redis")


@pytest.mark.parametrize(
    ("level", "said"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_nothing_below_the_level_is_said(lines: Lines, level: str, said: list[str]) -> None:
    logs.configure(level)
    ours, library = logs.get("tests.levels"), logging.getLogger("redis")
    for word in ("debug", "info", "warning", "error"):
        getattr(ours, word)("ours")
        getattr(library, word)("library")
    assert [line["level"] for line in lines() if line["event"] == "ours"] == said


def test_what_json_does_not_know_is_said_all_the_same(lines: Lines) -> None:
    logs.configure("info")
    logs.get("tests.odd").info("odd", thing={1, 2}, raw=b"\xff", when=timedelta(1))
    (line,) = lines()
    assert set(line) > {"thing", "raw", "when"}


def test_what_is_bound_to_the_context_is_on_every_line(lines: Lines) -> None:
    logs.configure("info")
    with structlog.contextvars.bound_contextvars(drain="7"):
        logs.get("tests.context").info("ours")
        logging.getLogger("redis").info("library")
    assert [line["drain"] for line in lines()] == ["7", "7"]


def say_ours(error: Exception) -> None:
    logs.get("tests.failing").error("failed", exc_info=error)


def say_ours_while_it_is_handled(error: Exception) -> None:
    with suppress(ValueError):
        try:
            raise error
        finally:
            logs.get("tests.failing").error("failed", exc_info=True)


def say_by_the_library(error: Exception) -> None:
    logging.getLogger("uvicorn.error").error("failed", exc_info=error)


def say_by_the_library_while_it_is_handled(error: Exception) -> None:
    try:
        raise error
    except ValueError:
        logging.getLogger("redis").exception("failed")


@pytest.mark.parametrize(
    "say",
    [say_ours, say_ours_while_it_is_handled, say_by_the_library, say_by_the_library_while_it_is_handled],
    ids=lambda say: say.__name__,
)
def test_of_a_foreign_exception_only_its_type_and_its_last_places_are_said(
    lines: Lines, capsys: pytest.CaptureFixture[str], error: Exception, say: Callable[[Exception], None]
) -> None:
    logs.configure("info")
    say(error)
    written = capsys.readouterr().err
    assert "s3cret" not in written
    assert "+49" not in written
    assert "Traceback" not in written
    line = json.loads(written)
    assert line["event"] == "failed"
    assert line["error"] == "ValueError"
    assert [re.sub(r"\d+", "N", place) for place in line["at"]] == ["test_logs.py:N fail"] * 3
    assert set(line) == {"event", "error", "at", "level", "logger", "time"}


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (Unavailable("Redis did not answer within 2 s"), "Redis did not answer within 2 s"),
        (Rejected("signature_wrong"), "signature_wrong"),
        (Malformed("no status", "field status"), "no status: field status"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_our_own_exceptions_speak_for_themselves(lines: Lines, raised: Exception, said: str) -> None:
    logs.configure("info")
    logs.get("tests.ours").error("failed", exc_info=raised)
    (line,) = lines()
    assert line["error"] == said


def test_without_an_exception_there_is_none_to_say(lines: Lines) -> None:
    logs.configure("info")
    logs.get("tests.none").error("failed", exc_info=True)
    (line,) = lines()
    assert "error" not in line


@pytest.mark.parametrize("level", ["debug", "info"])
def test_the_access_log_of_uvicorn_is_silent_whatever_it_was_set_to(lines: Lines, level: str) -> None:
    access = logging.getLogger("uvicorn.access")
    access.addHandler(logging.StreamHandler())
    access.setLevel(logging.DEBUG)
    logs.configure(level)
    access.info('%s - "%s" %d', "192.0.2.1", "GET /callbacks/otp/s3cret?phone=+49151", 200)
    assert lines() == []
    assert not access.hasHandlers(), "uvicorn makes a line for each request where there is one"


def test_the_driver_of_postgresql_is_silent(lines: Lines) -> None:
    logs.configure("debug")
    for name in ("psycopg", "psycopg.transaction"):
        logging.getLogger(name).warning("error ignored terminating: %s", "Key (recipient)=(+4915112345678)")
    assert lines() == []


def test_a_failed_callback_of_asyncio_has_its_kind_and_no_arguments(lines: Lines) -> None:
    logs.configure("info")
    log = logging.getLogger("asyncio")
    log.error("Exception in callback Bounded.data_received(b'%s')\nhandle: <Handle %s>", SECRET, SECRET)
    log.error("Task exception was never retrieved\nfuture: %s", f"<Task finished exception=ValueError('{SECRET}')>")
    assert [line["event"] for line in lines()] == [
        "Exception in callback Bounded.data_received",
        "Task exception was never retrieved",
    ]


def test_a_line_that_cannot_be_logged_is_named_without_its_arguments() -> None:
    program = f"import logging; from shared import logs; logs.configure('info'); logging.error('%d', '{SECRET}')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    line = json.loads(done.stderr)
    assert (line["logger"], line["event"]) == ("root", "a line could not be logged (TypeError)")


def test_what_nobody_caught_is_a_line_without_its_message() -> None:
    program = (
        "import threading, warnings; from shared import logs; logs.configure('info')\n"
        f"def fail(): raise ValueError('{SECRET}')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "warnings.warn('old'); fail()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    in_thread, warned, ended = map(json.loads, done.stderr.splitlines())
    assert (in_thread["error"], in_thread["level"]) == ("ValueError", "error")
    assert "old" in warned["event"]
    assert (ended["error"], ended["level"], done.returncode) == ("ValueError", "critical", 1)
    assert SECRET not in done.stderr


def test_uvicorn_has_no_handler_of_its_own_beside_ours(lines: Lines) -> None:
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).addHandler(logging.StreamHandler())
        logging.getLogger(name).propagate = False
    logs.configure("info")
    logging.getLogger("uvicorn.error").error("once")
    assert [line["event"] for line in lines()] == ["once"]


@pytest.mark.parametrize("name", ["celery.worker.strategy", "celery.app.trace", "celery.beat"])
def test_what_logs_a_line_for_each_doorbell_logs_only_warnings(lines: Lines, name: str) -> None:
    logs.configure("info")
    logging.getLogger(name).info("Task callbox.drain received")
    logging.getLogger(name).warning("a failure")
    assert [line["event"] for line in lines()] == ["a failure"]


def test_configured_twice_says_everything_once(lines: Lines) -> None:
    logs.configure("info")
    logs.configure("info")
    logs.get("tests.twice").info("once")
    logging.getLogger("redis").info("once more")
    assert [line["event"] for line in lines()] == ["once", "once more"]


def test_of_what_a_stranger_can_cause_the_first_is_logged_at_once_and_the_others_are_counted() -> None:
    capture = LogCapture()

    async def check() -> None:
        limited = logs.Limited(structlog.wrap_logger(None, processors=[capture]), seconds=0.05)
        for number in range(1000):
            limited.warning("rejected", {"source": "fleet", "reason": "unsigned"}, address=f"192.0.2.{number % 9}")
        limited.warning("rejected", {"source": "otp", "reason": "unsigned"}, address="192.0.2.1")
        limited.error("request failed", {"source": "fleet"})
        assert len(capture.entries) == 3
        await asyncio.sleep(0.1)
        assert len(capture.entries) == 4
        limited.warning("rejected", {"source": "fleet", "reason": "unsigned"}, address="192.0.2.1")
        limited.flush()
        await asyncio.sleep(0.1)

    asyncio.run(check())
    kind = {"event": "rejected", "log_level": "warning", "source": "fleet", "reason": "unsigned"}
    of_fleet = [entry for entry in capture.entries if entry.get("source") == "fleet" and entry["event"] == "rejected"]
    assert of_fleet == [
        kind | {"address": "192.0.2.0"},
        kind | {"more": 999, "seconds": 0.05},
        kind | {"address": "192.0.2.1"},
    ]
