"""What commands have in common: their options, where the servers are, and how they say what went wrong."""

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

import click
import msgspec
import psycopg

from deploy import checks
from deploy.local.servers import CannotStart
from deploy.local.up import addresses_of
from deploy.output import complain, say
from deploy.text import as_json, table
from shared import config
from shared.config import Config, ConfigError
from shared.errors import Unavailable
from shared.inbox import RedisUnavailable
from shared.providers import PROVIDERS

LONG_RUN = 50  # from so many callbacks on a bar shows the progress, and ids are not listed
NOT_RUNNING = "start `callbox up`, name its folder with --data, or set"

P = ParamSpec("P")
R = TypeVar("R")

DATA = click.option(
    "--data",
    "folder",
    metavar="DIR",
    default="var",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where `callbox up` keeps everything.  [default: ./var]",
)
CONFIG = click.option(
    "--config",
    "config_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The configuration.  [default: CALLBOX_CONFIG, else ./callbox.toml]",
)
PORT = click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    metavar="N",
    help="Where the ingress listens, on 127.0.0.1; 0: any free.",
)
TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])
SINCE = click.option("--since", type=TIME, metavar="TIME", help="UTC, as 2026-01-31 or 2026-01-31T12:00:00.")
UNTIL = click.option("--until", type=TIME, metavar="TIME", help="UTC; what is from then on is left out.")
LIMIT = click.option("--limit", default=50, show_default=True, type=click.IntRange(1))
JSON = click.option("--json", "json_wanted", is_flag=True, help="For programs; bytes in base64.")


class Failed(click.ClickException):
    """It failed: one line on standard error, exit code 1."""


class Commands(click.Group):
    """The commands of one program. What goes wrong in any of them is shown by `complain`, also what nobody foresaw."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        try:
            sys.exit(super().main(*args, **{**options, "prog_name": "callbox", "standalone_mode": False}))
        except click.Abort:
            complain("Aborted!")
            sys.exit(1)
        except click.ClickException as error:
            complain(*_lines_of(error))
            sys.exit(error.exit_code)
        except Exception:
            complain(*traceback.format_exc().rstrip().split("\n"))
            sys.exit(1)


def _lines_of(error: click.ClickException) -> Iterator[str]:
    """An error as click itself shows it, except that what it quotes stays on its line."""
    if isinstance(error, Failed):
        yield f"callbox: {error.format_message()}"
    elif isinstance(error, click.exceptions.NoArgsIsHelpError):
        yield from error.format_message().split("\n")
    else:
        if isinstance(error, click.UsageError) and error.ctx:
            yield from error.ctx.get_usage().split("\n")
            yield f"Try '{error.ctx.command_path} --help' for help."
            yield ""
        yield f"Error: {error.format_message()}"


def speaks_plainly(command: Callable[P, R]) -> Callable[P, R]:
    """Turns what a command may run into into its line and its exit code: never a traceback for a user's mistake."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ConfigError as error:
            complain(*error.mistakes)
            raise SystemExit(2) from None
        except CannotStart as error:
            raise Failed(str(error)) from None
        except RedisUnavailable as error:
            raise Failed(f"{error}: {NOT_RUNNING} CALLBOX_REDIS_URL") from None
        except Unavailable as error:
            raise Failed(str(error)) from None
        except psycopg.errors.UndefinedTable:
            raise Failed("the database is not migrated: run `callbox migrate`") from None
        except psycopg.OperationalError as error:
            raise Failed(
                f"PostgreSQL does not answer ({checks.said(error)}): {NOT_RUNNING} CALLBOX_DATABASE_URL"
            ) from None
        except psycopg.ProgrammingError as error:
            complain(f"CALLBOX_DATABASE_URL: {checks.said(error)}")
            raise SystemExit(2) from None

    return wrapped


def environment(folder: Path) -> Mapping[str, str]:
    """The environment, and behind it what a running `up` wrote into its folder."""
    return {**addresses_of(folder), **os.environ}


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    return config.load(path, environ, PROVIDERS)


def utc(time: datetime | None) -> datetime | None:
    """A time of the command line, which is in UTC."""
    return None if time is None else time.replace(tzinfo=UTC)


def say_rows(rows: Sequence[msgspec.Struct], columns: Sequence[str], json_wanted: bool, nothing: str) -> None:
    """Rows as JSON with all they have, or as a table of these columns."""
    if json_wanted:
        say(*as_json(rows))
    elif rows:
        shown = [[getattr(row, column) for column in columns] for row in rows]
        say(*table([column.replace("_", " ") for column in columns], shown))
    else:
        say(nothing)
