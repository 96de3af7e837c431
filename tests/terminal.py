"""A real terminal for a command, and what somebody would see in it: tmux where it is installed, and a plain pty."""

import fcntl
import os
import pty
import re
import shlex
import shutil
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

Words = Sequence[str]
Environment = Mapping[str, str]

SECONDS = 60.0
_HOME = "\x1b[H"  # where each frame of a live page begins
_SEQUENCE = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[=>()][0-9A-B]?)")


class Terminal(Protocol):
    """Runs one command; `with` ends it."""

    def __init__(
        self, words: Sequence[str], cwd: Path, environment: Mapping[str, str], columns: int, lines: int
    ) -> None: ...

    def screen(self) -> str:
        """What is to be seen now."""

    def press(self, keys: str) -> None:
        """Types keys; `C-c` is Ctrl-C."""

    def exit_code(self) -> int | None:
        """Of the command, once it has ended."""

    def close(self) -> None: ...


class Tmux:
    """A server of its own, which ends with the test."""

    def __init__(
        self, words: Sequence[str], cwd: Path, environment: Mapping[str, str], columns: int, lines: int
    ) -> None:
        self._folder = TemporaryDirectory(prefix="callbox-tmux-")
        self._code = Path(self._folder.name) / "code"
        self._environment = {**environment, "TERM": "xterm-256color"}
        command = f"{shlex.join(words)}; echo $? > {self._code}; sleep 3600"
        size = ("-x", str(columns), "-y", str(lines))
        self._tmux("-f", "/dev/null", "new-session", "-d", *size, "-c", str(cwd), command)

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    def press(self, keys: str) -> None:
        self._tmux("send-keys", keys)

    def exit_code(self) -> int | None:
        with suppress(FileNotFoundError, ValueError):
            return int(self._code.read_text())
        return None

    def close(self) -> None:
        self._tmux("kill-server")
        self._folder.cleanup()

    def _tmux(self, *words: str) -> str:
        command = ["tmux", "-S", f"{self._folder.name}/socket", *words]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, done.stderr
        return done.stdout


class Pty:
    """Without a program that draws: the latest frame of what the command wrote."""

    def __init__(
        self, words: Sequence[str], cwd: Path, environment: Mapping[str, str], columns: int, lines: int
    ) -> None:
        self._controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._process = subprocess.Popen(
            words,
            cwd=cwd,
            env={**environment, "TERM": "xterm-256color"},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(terminal)
        self._written = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def screen(self) -> str:
        frame = self._written.decode(errors="replace").rpartition(_HOME)[2]
        return _SEQUENCE.sub("", frame).replace("\r", "")

    def press(self, keys: str) -> None:
        os.write(self._controller, b"\x03" if keys == "C-c" else keys.encode())

    def exit_code(self) -> int | None:
        return self._process.poll()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(SECONDS)
        os.close(self._controller)

    def _read(self) -> None:
        with suppress(OSError):  # EIO once nothing has the terminal open any more
            while data := os.read(self._controller, 65536):
                self._written += data


TERMINALS: list[type[Terminal]] = [Pty, *([Tmux] if shutil.which("tmux") else [])]


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background ignore it
