"""`callbox up`: the whole system on this machine."""

import os
from pathlib import Path

import click

from deploy.commands.options import MOST_PROCESSES, WholeNumber, config_option, data_option, gathered, port_option
from deploy.local.overview import overview
from deploy.local.plan import Plan, Roles
from deploy.local.up import Up
from deploy.output import write
from shared import config
from shared.providers import PROVIDERS

roles_options = gathered(
    "roles",
    Roles,
    click.option(
        "--ingress",
        "ingresses",
        default=1,
        show_default=True,
        metavar="N",
        type=WholeNumber(0, MOST_PROCESSES),
        help="Processes that take callbacks.",
    ),
    click.option(
        "--workers",
        default=2,
        show_default=True,
        metavar="N",
        type=WholeNumber(0, MOST_PROCESSES),
        help="Processes that store them.",
    ),
    click.option("--flower/--no-flower", default=True, show_default=True, help="The page that shows the drains."),
)


@click.command()
@config_option
@data_option
@port_option
@roles_options
def up(config_path: Path | None, folder: Path, port: int, roles: Roles) -> None:
    """Run the whole system on this machine, in the foreground.

    PostgreSQL and Redis come along, unless CALLBOX_DATABASE_URL and CALLBOX_REDIS_URL name yours. Whatever dies is
    started again. Ctrl-C or SIGTERM empties the inbox and stops everything.
    """
    configuration = config.load(config_path, os.environ, PROVIDERS)
    running = Up(Plan.of(configuration, folder, port, roles), write)

    def report_ready() -> None:
        write(*overview(configuration, folder, running.addresses), f"ready {running.addresses['CALLBOX_URL']}")

    running.run(when_ready=report_ready)
