"""`callbox reload`: callbox.toml, read again by a running `callbox up`."""

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from deploy.commands.errors import Failed
from deploy.commands.options import readable_system, running_option
from deploy.local.files import read_pids
from deploy.local.folder import owner
from deploy.output import write
from deploy.system import folders_of
from shared.fingerprint import of_sources
from shared.inbox import Inbox, Process

READ_SECONDS = 20.0  # for every process to report what it has read
POLL_SECONDS = 0.1
ROLES = ("ingress", "worker")


@click.command()
@running_option
def reload(folder: Path | None) -> None:
    """Have a running `callbox up` read callbox.toml, .env and the files of secrets again.

    Sources and secrets change while callbacks are taken. With a mistake nothing changes: exits with 2, and lists every
    one. Settings (CALLBOX_…) and other variables of the environment stay as they are until it is started again.
    """
    system = readable_system(folder)
    fingerprint = of_sources(system.configuration().sources.values())
    found = next(((each, pid) for each in folders_of(folder) if (pid := owner(each))), None)
    if found is None:
        places = " or ".join(map(str, folders_of(folder)))
        raise Failed(
            f"no `callbox up` runs in {places}: name its folder with --data; where ingresses and workers run by"
            " themselves send SIGHUP to each (systemctl reload), the workers first"
        )
    running, pid = found
    os.kill(pid, signal.SIGHUP)
    asked = {number for name, number in read_pids(running).items() if name.partition("-")[0] in ROLES}
    with system.inbox() as inbox:
        processes = _reports(inbox, asked, fingerprint)
    late = [process.name for process in processes if process.configuration != fingerprint]
    if late or len(processes) < len(asked):
        raise Failed(
            f"{len(processes) - len(late)} of {len(asked)} processes have the configuration {fingerprint} that this"
            f" command reads: see {running / 'logs'}, and the terminal of `callbox up`"
        )
    roles = Counter(process.role for process in processes)
    write(f"{_count(roles)} have the configuration {fingerprint} of {system.configuration().path}")


def _reports(inbox: Inbox, pids: set[int], fingerprint: str) -> Sequence[Process]:
    """What these processes of this host report, once all have this configuration or the time is up."""
    ends = time.monotonic() + READ_SECONDS
    host = socket.gethostname()
    while True:
        snapshot = inbox.snapshot()
        found = [each for each in snapshot.processes if each.host == host and each.pid in pids]
        if time.monotonic() > ends or {each.pid for each in found if each.configuration == fingerprint} == pids:
            return found
        time.sleep(POLL_SECONDS)


def _count(roles: Counter[str]) -> str:
    return " and ".join(
        f"{count} {role}{'' if count == 1 else 'es' if role == 'ingress' else 's'}"
        for role, count in sorted(roles.items())
    )
