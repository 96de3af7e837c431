"""The `callbox` command. Each subcommand reports what it did, or in one line what failed and what to do."""

import click

from deploy.commands.check import check
from deploy.commands.completion import completion
from deploy.commands.conflicts import conflicts
from deploy.commands.dead_letters import dead_letters
from deploy.commands.demo import demo
from deploy.commands.doctor import doctor
from deploy.commands.errors import Commands
from deploy.commands.find import find
from deploy.commands.init import init
from deploy.commands.migrate import migrate
from deploy.commands.refused import refused
from deploy.commands.reload import reload
from deploy.commands.remove_tests import remove_tests
from deploy.commands.resume import resume
from deploy.commands.send import send
from deploy.commands.shards import shards
from deploy.commands.show import show
from deploy.commands.spool import spool
from deploy.commands.sql import sql
from deploy.commands.status import status
from deploy.commands.tail import tail
from deploy.commands.top import top
from deploy.commands.up import up


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="callbox", message="callbox %(version)s")
def main() -> None:
    """Takes the callbacks of SMS providers, answers them at once, and never loses one."""


for command in (
    *(init, up, demo, reload, migrate, check, doctor, send, remove_tests, completion),
    *(status, top, tail, find, show, sql),
    *(resume, refused, shards, spool, conflicts, dead_letters),
):
    main.add_command(command)
