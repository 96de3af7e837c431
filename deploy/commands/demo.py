"""`callbox demo`, which is `make run`."""

import os
from pathlib import Path

import click

from deploy.commands.errors import Failed
from deploy.commands.options import port_option
from deploy.local.demo import example_config, present
from deploy.local.plan import Plan, Roles
from deploy.local.up import Up
from deploy.output import write
from deploy.system import DEMO_FOLDER
from shared import config
from shared.providers import PROVIDERS


@click.command()
@click.option(
    "--data",
    "folder",
    metavar="DIR",
    default=DEMO_FOLDER,
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Where the demonstration keeps everything.  [default: ./{DEMO_FOLDER}]",
)
@port_option
def demo(folder: Path, port: int) -> None:
    """Run everything with an example configuration, and show a few callbacks on their way (`make run`)."""
    try:
        path = example_config(folder)
    except OSError as error:
        raise Failed(f"{folder} cannot be written to ({error.strerror}): give another --data") from None
    configuration = config.load(path, os.environ, PROVIDERS)
    running = Up(Plan.of(configuration, folder, port, Roles()), write)
    write("starting PostgreSQL, Redis, ingress, workers and Flower…")
    running.run(when_ready=lambda: present(configuration, folder, running.addresses))
