"""SIGHUP: of a terminal that has gone, or of somebody who asks for something."""

import os
import pty
import signal
import sys
from pathlib import Path

from shared.hangup import Terminal
from tests.conftest import wait_until

WATCH = """
import os, signal, sys, time
from shared import hangup
hangup.postpone()
terminal = hangup.Terminal()
gone = []
signal.signal(signal.SIGHUP, lambda *_: gone.append(terminal.has_gone()))
open(sys.argv[1], "w").close()
time.sleep(float(sys.argv[3]))
hangup.deliver()
while not gone:
    time.sleep(0.01)
with open(sys.argv[2], "w") as file:
    file.write(str(gone[0]))
"""


def in_a_terminal(folder: Path, wait_seconds: float = 0.0) -> tuple[int, int]:
    """The process id and the terminal's other end of a process that writes down what its first SIGHUP means."""
    pid, terminal = pty.fork()
    if pid == 0:
        words = [sys.executable, "-c", WATCH, str(folder / "ready"), str(folder / "gone"), str(wait_seconds)]
        os.execv(sys.executable, words)
    wait_until((folder / "ready").exists, "the process")
    return pid, terminal


def test_a_signal_from_somebody_is_no_end(tmp_path: Path) -> None:
    pid, terminal = in_a_terminal(tmp_path, 0.2)
    os.kill(pid, signal.SIGHUP)  # kept back until the process is ready for it
    os.waitpid(pid, 0)
    assert (tmp_path / "gone").read_text() == "False"
    os.close(terminal)


def test_the_end_of_its_terminal_is(tmp_path: Path) -> None:
    pid, terminal = in_a_terminal(tmp_path)
    os.close(terminal)
    os.waitpid(pid, 0)
    assert (tmp_path / "gone").read_text() == "True"


def test_without_a_terminal_none_can_go() -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.write(write, b"gone" if Terminal().has_gone() else b"no")
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 9) == b"no"
