"""`callbox doctor`: one's own public URL, called from outside."""

from datetime import UTC, datetime
from pathlib import Path

import click

from deploy.commands.errors import Failed
from deploy.commands.options import configured_system_options
from deploy.commands.send import ask, has_real_events
from deploy.commands.sources import find_source
from deploy.doctor import Place, examine
from deploy.output import write
from deploy.system import System
from shared.source import Source

MARKS = {"good": "✓", "risky": "!", "wrong": "✗"}


@click.command()
@click.argument("url", metavar="URL")
@click.option("--send", "sends", is_flag=True, help="Send signed test callbacks through it, marked as such.")
@click.option("--yes", is_flag=True, help="Send them also to a source that has stored real events.")
@configured_system_options
def doctor(url: str, sends: bool, yes: bool, system: System) -> None:
    """Call URL as a provider does, and report at each step what is right and what is not.

    URL is what a provider is given: https://sms.example.org/callbacks/fleet. With the source in it, and its
    callbox.toml here, its methods are tried too. Nothing is stored unless --send is given; `callbox remove-tests`
    removes that. Exits with 1 when something is wrong.
    """
    try:
        place = Place.of(url)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="URL") from None
    source = _source_of(place, sends, system)
    if sends and not yes and source is not None and has_real_events(source.name, system):
        ask(source.name)
    wrong = 0
    for finding in examine(place, source, sends, datetime.now(UTC)):
        write(f"{MARKS[finding.level]} {finding.what:8} {finding.sentence}")
        wrong += finding.level == "wrong"
    if wrong:
        raise Failed(
            f"{wrong} thing{'' if wrong == 1 else 's'} above must be put right before {place.host} gets callbacks"
        )


def _source_of(place: Place, sends: bool, system: System) -> Source | None:
    """The source in the URL; None where it has none, or this machine has no configuration and needs none."""
    if place.source is None:
        if sends:
            raise click.BadParameter("--send needs a URL with a source: …/callbacks/NAME", param_hint="URL")
        return None
    if not sends and not _is_there(system.configuration_path):
        return None
    return find_source(system.configuration(), place.source)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # reading it will have the sentence
        return True
