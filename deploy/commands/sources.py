"""What commands that are given the name of a source say when no source is called so."""

from contextlib import suppress

import click

from deploy.system import System
from shared.config import Config, ConfigError
from shared.source import Source


def find_source(configuration: Config, name: str) -> Source:
    """The source of this name. Raises click.BadParameter, which names those that exist."""
    source = configuration.sources.get(name)
    if source is None:
        names = ", ".join(configuration.sources)
        raise click.BadParameter(
            f"there is no source {name} in {configuration.path}, only {names}", param_hint="SOURCE"
        )
    return source


def check_name(name: str, system: System) -> None:
    """Raises click.BadParameter for a source that does not exist, if the configuration can be read here."""
    with suppress(ConfigError):
        sources = system.readers()
        if name not in sources:
            raise click.BadParameter(
                f"there is no source {name} in callbox.toml, only {', '.join(sources)}", param_hint="SOURCE"
            )
