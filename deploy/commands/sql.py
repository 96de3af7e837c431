"""`callbox sql`: psql, connected to the database of Callbox."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import click

from deploy.commands.errors import Failed
from deploy.commands.options import system_options
from deploy.local import servers
from deploy.system import System
from workers.connection import Address, address_of

PROGRAM = "psql"


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@system_options
@click.argument("arguments", metavar="[ARGUMENT]...", nargs=-1, type=click.UNPROCESSED)
def sql(arguments: tuple[str, ...], system: System) -> None:
    """Open psql on the database of Callbox, or run what its arguments ask for: callbox sql -c "SELECT 1".

    The ARGUMENTs are those of psql. The password is passed in its environment, where no list of processes shows it.
    """
    address = address_of(system.settings.database_url)
    program = shutil.which(PROGRAM) or servers.psql()
    if program is None:
        raise Failed(
            f"there is no {PROGRAM} here: install PostgreSQL's client (Debian: apt install postgresql-client), or"
            f" connect another one to {address.without_password}, with the password in CALLBOX_DATABASE_URL"
        )
    run(program, address, arguments, os.environ)


def run(program: str | Path, address: Address, arguments: tuple[str, ...], environ: Mapping[str, str]) -> NoReturn:
    """Becomes psql."""
    os.execve(  # noqa: S606 - no shell
        program,
        [PROGRAM, "--dbname", address.without_password, *arguments],
        {**environ, **address.secrets},
    )
