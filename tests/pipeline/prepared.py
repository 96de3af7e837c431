"""`callbox` as a process of its own that need not import it again: this one has, and forks for each command.

Run by `prepared.Server`, which tests call. To import all of Callbox takes most of a second.
"""

import array
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

_STREAMS = 3
_MOST_BYTES = 1 << 20  # of words and environment


class Server:
    """Forks a process for each command, and dies with the one that started it."""

    def __init__(self) -> None:
        own, other_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = own
        with other_end:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.pipeline.prepared", str(other_end.fileno())],
                cwd=Path(__file__).parents[2],
                env={name: value for name, value in os.environ.items() if not name.startswith("CALLBOX_")},
                pass_fds=[other_end.fileno()],
            )

    def run(
        self, words: Sequence[str], cwd: Path, environment: Mapping[str, str], seconds: float
    ) -> "subprocess.CompletedProcess[str]":
        """As subprocess.run. Raises TimeoutError; the command goes on then, until this ends."""
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors, Path(os.devnull).open() as nothing:
            task = json.dumps([list(words), str(cwd), dict(environment)]).encode()
            streams = array.array("i", [file.fileno() for file in (nothing, output, errors)])
            self._socket.settimeout(seconds)
            self._socket.sendmsg([task], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
            code = int(self._socket.recv(100))
            said = []
            for file in (output, errors):
                file.seek(0)
                said.append(file.read().decode())
        return subprocess.CompletedProcess(["callbox", *words], code, *said)

    def stop(self) -> None:
        self._socket.close()
        self._process.wait()


def serve(commands: socket.socket) -> None:
    """Until the other end is closed."""
    from deploy.commands.main import main  # noqa: F401, PLC0415 - imported before it forks

    while True:
        task, streams, _, _ = socket.recv_fds(commands, _MOST_BYTES, _STREAMS)
        if not task:
            return
        pid = os.fork()
        if pid == 0:
            commands.close()
            words, cwd, environment = json.loads(task)
            _become(words, cwd, environment, streams)
        for stream in streams:
            os.close(stream)
        commands.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


def _become(words: list[str], cwd: str, environment: dict[str, str], streams: Sequence[int]) -> NoReturn:
    from deploy.commands.main import main  # noqa: PLC0415

    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environment)
        main(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the tests' to handle
    serve(socket.socket(fileno=int(sys.argv[1])))
