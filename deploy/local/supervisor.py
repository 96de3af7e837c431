"""Child processes: started, started again when they die, stopped in order, and never left behind.

Each is a child of this process and dies with it, also when it is killed: the kernel signals the children
(PR_SET_PDEATHSIG). Their output goes to files of their names.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.local import logfile
from deploy.local.files import write_pids

STOP_SECONDS = 20.0  # for one process to end by itself, before it is killed: the ingress takes up to 15 s
FILES = 65_536  # open files and connections of one process, if the system allows as many
LONGEST_PAUSE_SECONDS = 5.0  # between two tries to restart what is killed again and again
LONGEST_FAILING_SECONDS = 60.0  # and what ends by itself
STEADY_SECONDS = 10.0  # after which a process counts as running, and the pauses begin anew

Report = Callable[[str], None]  # takes one sentence for the user


@dataclass
class Child:
    """One process, and how to start and stop it."""

    name: str
    command: list[str]
    environment: Mapping[str, str]  # all of it
    stop_signal: int = signal.SIGTERM
    pass_fds: tuple[int, ...] = ()
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    restart_at: float | None = None
    pause_seconds: float = 0.0
    reported: str = ""  # why it ended, as last reported; forgotten once it runs steadily

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Supervisor:
    """The children of one folder: their output in `logs/`, their process ids in `pids.json`."""

    def __init__(self, folder: Path, report: Report) -> None:
        self._folder = folder
        self._report = report
        self._children: list[Child] = []
        self._pids_are_old = False

    def start(self, child: Child) -> None:
        """Starts a child, which is tended from now on."""
        self._children.append(child)
        self._spawn(child)

    def child(self, name: str) -> Child | None:
        """The child of this name, running or not."""
        return next((child for child in self._children if child.name == name), None)

    def running(self, name: str) -> bool:
        child = self.child(name)
        return child is not None and child.running()

    def notify(self, role: str, number: int, environment: Mapping[str, str]) -> None:
        """Sends a signal to every running child of a role (their names up to the number). When one is started again it
        gets this environment; until then it keeps the one that it has."""
        for child in self._children:
            if child.name.partition("-")[0] == role:
                child.environment = environment
                if child.process is not None and child.running():
                    child.process.send_signal(number)

    def tend(self) -> None:
        """Checks every child once: starts again what died, after pauses that grow while it keeps dying. Of one that
        keeps dying in the same way only the first end is reported."""
        now = time.monotonic()
        for child in self._children:
            logfile.limit(self._log_of(child))
            if child.running():
                continue
            if child.restart_at is None:
                child.restart_at = now + self._note_end(child, now)
            if now >= child.restart_at:
                self._spawn_or_wait(child)
        if self._pids_are_old:
            self._write_pids()

    def stop(self, kinds: Iterable[str]) -> None:
        """Stops the children of these kinds (their names up to the number), all at once, and waits for them."""
        kinds = set(kinds)
        going = [child for child in self._children if child.name.partition("-")[0] in kinds]
        for child in going:
            if child.process is not None and child.running():
                child.process.send_signal(child.stop_signal)
                child.process.send_signal(signal.SIGCONT)  # a frozen process gets it too
        for child in going:
            _end(child)
            self._children.remove(child)

    def _note_end(self, child: Child, now: float) -> float:
        """Reports it; how long to wait before the next start."""
        if now - child.started_at > STEADY_SECONDS:
            child.pause_seconds, child.reported = 0.0, ""
        pause_seconds = child.pause_seconds
        longest = LONGEST_FAILING_SECONDS if _ended_by_itself(child) else LONGEST_PAUSE_SECONDS
        child.pause_seconds = min(longest, 2 * pause_seconds + 0.2)
        why = _how_it_ended(child)
        if why != child.reported:
            child.reported = why
            last = f": {line}" if _ended_by_itself(child) and (line := logfile.last_line(self._log_of(child))) else ""
            self._report(f"{child.name} {why}{last}; starting it again (logs/{child.name}.log)")
        self._write_pids()
        return pause_seconds

    def _spawn_or_wait(self, child: Child) -> None:
        """Tries again later where the disk or the memory is full: the other children go on."""
        try:
            self._spawn(child)
        except OSError as error:
            child.restart_at = time.monotonic() + LONGEST_PAUSE_SECONDS
            self._report(f"{child.name} cannot be started ({error.strerror}); trying again")

    def _spawn(self, child: Child) -> None:
        with self._log_of(child).open("ab") as log:
            child.process = subprocess.Popen(
                child.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=child.environment,
                cwd=self._folder,
                pass_fds=child.pass_fds,
                start_new_session=True,  # Ctrl-C reaches only this process, which stops the others in order
                preexec_fn=die_with_parent,
            )
        child.started_at = time.monotonic()
        child.restart_at = None
        self._write_pids()

    def _log_of(self, child: Child) -> Path:
        return self._folder / "logs" / f"{child.name}.log"

    def _write_pids(self) -> None:
        pids = {child.name: child.process.pid for child in self._children if child.process and child.running()}
        try:
            write_pids(self._folder, pids)
        except OSError:  # on a full disk the old file stays until there is room
            self._pids_are_old = True
        else:
            self._pids_are_old = False


def allow_many_files() -> None:
    """Raises this process's limit, which its children inherit: every connection is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # some systems refuse less than their hard limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def die_with_parent() -> None:
    """Runs in the child, before its program: has the kernel kill it when its parent is gone (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, see prctl(2)


def _end(child: Child) -> None:
    if child.process is None:
        return
    with suppress(subprocess.TimeoutExpired):
        child.process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):  # its group, for children that it may have left
        os.killpg(child.process.pid, signal.SIGKILL)
    child.process.wait()


def _ended_by_itself(child: Child) -> bool:
    return child.process is not None and child.process.returncode is not None and child.process.returncode >= 0


def _how_it_ended(child: Child) -> str:
    code = child.process.returncode if child.process else None
    if code is None or code >= 0:
        return f"ended with code {code}"
    return f"was ended by {signal.Signals(-code).name}"
