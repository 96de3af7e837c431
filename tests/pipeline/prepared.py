"""`callbox` as a process of its own that need not import it again: this one has, and forks for each command.

Run by `prepared.Server`, which tests call. To import all of Callbox takes most of a second of a processor, and so do
Celery, Flower and Uvicorn: what a `callbox up` from here starts of them is forked too. Such a process differs from one
that was started in /proc, which has the words and the environment of this one.
"""

import array
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import IO, NoReturn

from deploy.local.supervisor import die_with_parent
from tests.pipeline import forked

_FILES = 4
_MOST_BYTES = 1 << 20  # of words and environment
_ANSWER_BYTES = 100
# What `callbox` imports, and what the processes of `callbox up` import of others.
_IMPORTED = """
deploy.commands.main ingress.__main__ flower.command kombu.transport.redis uvicorn.lifespan.on uvicorn.loops.uvloop
celery.__main__ celery.app.amqp celery.apps.beat celery.apps.worker celery.bin.celery celery.concurrency.prefork
celery.fixups.django celery.worker.components celery.worker.consumer celery.worker.strategy
"""


class Process:
    """A `callbox` that was forked, as subprocess.Popen has it."""

    def __init__(self, words: Sequence[str], said: socket.socket) -> None:
        """On `said` comes its process id, and once it has ended its exit code."""
        self.args = ["callbox", *words]
        self.returncode: int | None = None
        self._said = said
        self.pid = int(said.recv(_ANSWER_BYTES))

    def poll(self) -> int | None:
        return self._code(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        code = self._code(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _code(self, seconds: float | None) -> int | None:
        if self.returncode is None:
            self._said.settimeout(seconds)
            try:
                self.returncode = int(self._said.recv(_ANSWER_BYTES))
            except (TimeoutError, BlockingIOError):
                return None
            self._said.close()
        return self.returncode


class Server:
    """Forks a process for each command; all of them die with the one that started it."""

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

    def start(
        self, words: Sequence[str], cwd: Path, environment: Mapping[str, str], output: IO[bytes], errors: IO[bytes]
    ) -> Process:
        """As subprocess.Popen."""
        task = json.dumps([list(words), str(cwd), dict(environment)]).encode()
        said, other_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other_end, Path(os.devnull).open() as nothing:
            files = array.array("i", [file.fileno() for file in (nothing, output, errors, other_end)])
            self._socket.sendmsg([task], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
        return Process(words, said)

    def run(
        self, words: Sequence[str], cwd: Path, environment: Mapping[str, str], seconds: float
    ) -> "subprocess.CompletedProcess[str]":
        """As subprocess.run. Raises subprocess.TimeoutExpired."""
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            process = self.start(words, cwd, environment, output, errors)
            try:
                code = process.wait(seconds)
            finally:
                process.kill()
            said = []
            for file in (output, errors):
                file.seek(0)
                said.append(file.read().decode())
        return subprocess.CompletedProcess(process.args, code, *said)

    def stop(self) -> None:
        self._socket.close()
        self._process.wait()


def serve(commands: socket.socket) -> None:
    """Until the other end is closed."""
    for name in _IMPORTED.split():
        import_module(name)
    gc.freeze()  # its memory stays shared
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait for the commands
    while True:
        task, files, _, _ = socket.recv_fds(commands, _MOST_BYTES, _FILES)
        if not task:
            return
        if os.fork() == 0:
            commands.close()
            _keep(json.loads(task), files)
        for file in files:
            os.close(file)


def _keep(task: tuple[list[str], str, dict[str, str]], files: Sequence[int]) -> NoReturn:
    """Forks the command, and says its process id and how it ended."""
    die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, end = files
    with socket.socket(fileno=end) as said:
        pid = os.fork()
        if pid == 0:
            die_with_parent()
            said.close()
            _become(*task, streams)
        for stream in streams:
            os.close(stream)
        said.send(f"{pid}".encode())
        said.send(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}".encode())
    os._exit(0)


def _become(words: list[str], cwd: str, environment: dict[str, str], streams: Sequence[int]) -> NoReturn:
    from deploy.commands.main import main  # noqa: PLC0415 - imported before it was forked
    from deploy.local import supervisor  # noqa: PLC0415

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    vars(supervisor)["subprocess"] = SimpleNamespace(**{**vars(subprocess), "Popen": forked.popen})
    forked.end_with(lambda: main(words, prog_name="callbox"))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the tests' to handle
    serve(socket.socket(fileno=int(sys.argv[1])))
