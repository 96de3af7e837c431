"""The options that several commands have, and how options become one structure."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any

import click

from deploy.system import DEMO_FOLDER, USUAL_FOLDER, System
from shared import config

Command = Callable[..., None]
Decorator = Callable[[Command], Command]

MOST_PROCESSES = 64  # of one kind
MOST_ROWS = 1_000_000  # that a command is asked for


class WholeNumber(click.IntRange):
    """click's own, whose name for it is `integer range`."""

    name = "whole number"


class UtcTime(click.DateTime):
    """A time of the command line, in UTC."""

    def __init__(self) -> None:
        super().__init__(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            time: datetime = super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is no time like 2026-01-31 or 2026-01-31T12:00:00", param, ctx)
        return time.replace(tzinfo=UTC)


def gathered(name: str, make: Callable[..., Any], *options: Decorator) -> Decorator:
    """These options, whose values a command gets as one argument: what `make` returns for them."""
    parameters = signature(make).parameters

    def decorate(command: Command) -> Command:
        @wraps(command)
        def wrapped(**values: Any) -> None:
            own = {key: values.pop(key) for key in parameters if key in values}
            command(**values, **{name: make(**own)})

        decorated: Command = wrapped
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def complete_source(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The names of sources that begin so, for a shell."""
    given = (context.params.get(name) for name in ("folder", "config_path"))
    try:
        names = config.source_names(System.find(*given).configuration_path)
    except OSError:
        return []
    return [name for name in names if name.startswith(begun)]


data_option = click.option(
    "--data",
    "folder",
    metavar="DIR",
    default=USUAL_FOLDER,
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Where `callbox up` keeps everything.  [default: ./{USUAL_FOLDER}]",
)
running_option = click.option(
    "--data",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"The folder of a running `callbox up`.  [default: ./{USUAL_FOLDER}, else ./{DEMO_FOLDER}]",
)
config_option = click.option(
    "--config",
    "config_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The configuration.  [default: CALLBOX_CONFIG, else ./callbox.toml]",
)
port_option = click.option(
    "--port",
    default=8000,
    show_default=True,
    type=WholeNumber(0, 65535),
    metavar="N",
    help="Where the ingress listens, on 127.0.0.1; 0: any free port.",
)
source_option = click.option("--source", metavar="NAME", help="Of this source only.", shell_complete=complete_source)
source_argument = click.argument("source_name", metavar="SOURCE", shell_complete=complete_source)
reason_option = click.option("--reason", metavar="TEXT", help="Of this reason only, as the list shows it.")
since_option = click.option("--since", type=UtcTime(), metavar="TIME", help="UTC: 2026-01-31 or 2026-01-31T12:00:00.")
until_option = click.option("--until", type=UtcTime(), metavar="TIME", help="UTC; this moment itself is left out.")
limit_option = click.option(
    "--limit", default=50, show_default=True, type=WholeNumber(1, MOST_ROWS), help="At most this many."
)
json_option = click.option("--json", "json_wanted", is_flag=True, help="For programs; bytes in base64.")
reveal_option = click.option("--reveal", is_flag=True, help="Show numbers in full, and texts.")


def readable_system(folder: Path | None, config_path: Path | None = None) -> System:
    """`System.find`. Raises click.BadParameter for a folder that may not be read."""
    try:
        return System.find(folder, config_path)
    except OSError as error:
        raise click.BadParameter(
            f"{error.filename} cannot be read ({error.strerror}): type this as the user of `callbox up`",
            param_hint="--data",
        ) from None


def find_system(folder: Path | None, config_path: Path | None = None) -> System:
    """Raises click.BadParameter for a folder that was given, where no `callbox up` runs, or for one that may not be
    read, unless the environment names the servers."""
    system = readable_system(folder, config_path)
    if folder is not None and not system.names_servers:
        raise click.BadParameter(f"no `callbox up` runs in {folder}", param_hint="--data")
    return system


system_options = gathered("system", find_system, running_option)
configured_system_options = gathered("system", find_system, config_option, running_option)
