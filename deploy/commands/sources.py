"""What commands that are given the name of a source answer when no source is called so."""

from collections.abc import Collection
from contextlib import suppress

import click

from deploy.system import System
from shared.config import Config, ConfigError
from shared.source import Source


def find_source(configuration: Config, name: str) -> Source:
    """The source of this name. Raises click.BadParameter, which names those that exist."""
    _check(name, configuration.sources, configuration.path)
    return configuration.sources[name]


def check_name(name: str, system: System) -> None:
    """Raises click.BadParameter for a source that does not exist, if the configuration can be read here."""
    with suppress(ConfigError):
        _check(name, system.readers(), "callbox.toml")


def _check(name: str, known: Collection[str], place: object) -> None:
    if name not in known:
        sentence = f"there is no source {name} in {place}, only {', '.join(known)}"
        raise click.BadParameter(sentence, param_hint="SOURCE")
