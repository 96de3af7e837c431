"""`callbox check`: what is wrong or risky."""

import click

from deploy import checks
from deploy.commands.errors import Failed
from deploy.commands.options import configured_system_options
from deploy.output import write
from deploy.system import System


@click.command()
@configured_system_options
def check(system: System) -> None:
    """Read the configuration, try Redis and PostgreSQL, and report what is wrong or risky.

    Exits with 1 when something is wrong, with 2 when the configuration cannot be used.
    """
    findings = list(checks.check(system.configuration()))
    write(*(f"{finding.level:5}  {finding.what}: {finding.sentence}" for finding in findings))
    wrong = sum(finding.level == "wrong" for finding in findings)
    if wrong:
        raise Failed(f"{wrong} problem{'' if wrong == 1 else 's'} above must be fixed: each breaks a promise")
