"""The `callbox` command. Each command says what it did, or in one line what went wrong and what to do."""

import os
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
import psycopg
import redis

from deploy.local import Plan, Up, addresses_of
from deploy.servers import CannotStart
from shared import config
from shared.config import Config, ConfigError
from shared.providers import PROVIDERS
from workers import schema

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


class Failed(click.ClickException):
    """It failed: one line on standard error, exit code 1."""

    def show(self, file: Any = None) -> None:
        click.echo(f"callbox: {self.format_message()}", err=True)


def speaks_plainly(command: Callable[P, R]) -> Callable[P, R]:
    """Turns what a command may run into into its line and its exit code: never a traceback for a user's mistake."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ConfigError as error:
            for mistake in error.mistakes:
                click.echo(mistake, err=True)
            raise SystemExit(2) from None
        except CannotStart as error:
            raise Failed(str(error)) from None
        except redis.RedisError as error:
            said = type(error).__name__
            raise Failed(f"Redis does not answer ({said}): is it running, and is CALLBOX_REDIS_URL right?") from None
        except psycopg.errors.UndefinedTable:
            raise Failed("the database is not migrated: run `callbox migrate`") from None
        except psycopg.OperationalError as error:
            said = str(error).strip().splitlines()[-1]
            raise Failed(f"PostgreSQL does not answer ({said}): is CALLBOX_DATABASE_URL right?") from None

    return wrapped


def environment(folder: Path) -> Mapping[str, str]:
    """The environment, and behind it what a running `up` wrote into its folder."""
    return {**addresses_of(folder), **os.environ}


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    return config.load(path, environ, PROVIDERS)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="callbox", message="callbox %(version)s")
def main() -> None:
    """Takes the callbacks of SMS providers, answers them at once, and never loses one."""


@main.command()
@CONFIG
@DATA
@click.option("--port", default=8000, show_default=True, help="Where the ingress listens, on 127.0.0.1; 0: any free.")
@click.option("--ingress", "ingresses", default=1, show_default=True, metavar="N", type=click.IntRange(0, 64))
@click.option("--workers", default=2, show_default=True, metavar="N", type=click.IntRange(0, 64))
@click.option("--flower/--no-flower", default=True, show_default=True, help="The page that shows the drains.")
@speaks_plainly
def up(config_path: Path | None, folder: Path, port: int, ingresses: int, workers: int, flower: bool) -> None:
    """Run the whole system on this machine, in the foreground.

    PostgreSQL and Redis come along, unless CALLBOX_DATABASE_URL and CALLBOX_REDIS_URL name yours. Whatever dies is
    started again. Ctrl-C or SIGTERM empties the inbox and stops everything.
    """
    plan = plan_of(load(config_path, os.environ), folder, port, ingresses, workers, flower)
    run = Up(plan, say)
    run.run(when_ready=lambda: say(f"ready {run.addresses['CALLBOX_URL']}"))


def plan_of(config: Config, folder: Path, port: int, ingresses: int, workers: int, flower: bool) -> Plan:
    """What `up` is to run; servers that the environment names are not brought along."""
    return Plan(
        folder=folder,
        config=config,
        port=port,
        ingresses=ingresses,
        workers=workers,
        flower=flower,
        redis_url=os.environ.get("CALLBOX_REDIS_URL") or None,
        database_url=os.environ.get("CALLBOX_DATABASE_URL") or None,
    )


@main.command()
@DATA
@speaks_plainly
def migrate(folder: Path) -> None:
    """Bring the database to this version's schema. Safe to repeat."""
    applied = schema.migrate(config.load_settings(environment(folder)).database_url)
    for name in applied:
        say(f"applied {name}")
    if not applied:
        say("nothing to do: the database is up to date")


def say(line: str) -> None:
    """One line on standard output, at once."""
    click.echo(line)
    sys.stdout.flush()
