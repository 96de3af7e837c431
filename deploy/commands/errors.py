"""Every error that a command may meet: its line on standard error, and its exit code.

Exit codes: 1 when the command failed, 2 for a wrong usage or configuration.
"""

import errno
import re
import sys
import traceback
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

import click
import psycopg

from deploy.local.errors import CannotStart
from deploy.output import let_go_of_output, write_error
from deploy.text import first_line
from shared.config import ConfigError
from shared.errors import Unavailable
from shared.inbox import RedisUnavailable
from workers import schema
from workers.database import TooMuch, describe
from workers.schema import Unfit

FAILED = 1
WRONG_USAGE = 2

_CHOICES = re.compile(r"(?<=[:,])\n\t")  # between the words that click offers to choose from

NOT_RUNNING = "start `callbox up`, name its folder with --data, or set"


class Failed(Exception):
    """The command failed. The message is one line: what happened and what to do."""


class Report(NamedTuple):
    """What the user gets to read of an error, and the exit code."""

    lines: list[str]
    exit_code: int


class Commands(click.Group):
    """The commands of one program. Whichever runs, its errors end here: none needs to handle them, none can forget."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        try:
            sys.exit(super().main(*args, **{**options, "prog_name": "callbox", "standalone_mode": False}))
        except Exception as error:
            report = explain(_of_full_disk(error) if _is_full(error) else error)
            write_error(*report.lines)
            sys.exit(report.exit_code)


def sentence(error: RedisUnavailable | psycopg.Error) -> str:
    """What a server that is away, or that cannot do what it was asked, means to the user."""
    return explain(error).lines[0].removeprefix("callbox: ")


def explain(error: Exception) -> Report:
    """The report of an error. One that is not expected keeps its traceback, for whoever has to fix it."""
    match error:
        case click.Abort():
            return _failed("interrupted")
        case click.ClickException():
            return Report(list(_usage(error)), error.exit_code)
        case ConfigError():
            return Report(error.mistakes, WRONG_USAGE)
        case RedisUnavailable():
            return _failed(f"{error}: {NOT_RUNNING} CALLBOX_REDIS_URL")
        case Failed() | CannotStart() | Unavailable() | Unfit():
            return _failed(str(error))
        case TooMuch() | psycopg.Error():
            return _of_postgresql(error)
        case UnicodeEncodeError(encoding="utf-8"):
            return Report(["callbox: what was typed is not UTF-8"], WRONG_USAGE)
    return Report("".join(traceback.format_exception(error)).rstrip().split("\n"), FAILED)


def _of_postgresql(error: Exception) -> Report:
    match error:
        case TooMuch() | psycopg.errors.QueryCanceled():
            return _failed(f"PostgreSQL gave up on this ({describe(error)}): it took too long, or too much memory")
        case psycopg.errors.UndefinedTable():
            return _failed(schema.NOT_MIGRATED)
        case psycopg.errors.UndefinedColumn() | psycopg.errors.UndefinedFunction():
            return _failed(f"{schema.NOT_MIGRATED} ({describe(error)})")
        case psycopg.errors.InsufficientPrivilege():
            return _failed("the role of CALLBOX_DATABASE_URL may not do this: `callbox check` has what it needs")
        case psycopg.ProgrammingError():
            return Report([f"CALLBOX_DATABASE_URL: {first_line(error)}"], WRONG_USAGE)
    return _failed(f"PostgreSQL does not answer ({first_line(error)}): {NOT_RUNNING} CALLBOX_DATABASE_URL")


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _of_full_disk(error: Exception) -> Failed:
    if file := getattr(error, "filename", None):
        return Failed(f"{file} cannot be written: its disk is full")
    let_go_of_output()
    return Failed("the output cannot be written: its disk is full")


def _failed(sentence: str) -> Report:
    return Report([f"callbox: {sentence}"], FAILED)


def _usage(error: click.ClickException) -> Iterator[str]:
    """An error of click's, as click itself shows it, except that what it quotes stays on its line."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        yield from error.format_message().split("\n")
        return
    if isinstance(error, click.UsageError) and error.ctx:
        yield from error.ctx.get_usage().split("\n")
        yield f"Try '{error.ctx.command_path} --help' for help."
        yield ""
    yield f"Error: {_CHOICES.sub(' ', error.format_message())}"
