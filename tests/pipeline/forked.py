"""What `callbox up` starts of Python, forked from it in place of being started: little is imported again."""

import atexit
import gc
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NoReturn

from prometheus_client import values

PYTHON = [sys.executable, "-m"]
_ANEW = ("ingress", "workers")  # packages whose modules read the environment, or count, from their import on
_POLL_SECONDS = 0.01
_forgotten: list[ModuleType] = []  # what belongs to the process that forked must not be finalized in this one


def popen(command: list[str], **options: Any) -> "subprocess.Popen[bytes] | Forked":
    """In the place of subprocess.Popen, for the supervisor."""
    return Forked(command, **options) if command[: len(PYTHON)] == PYTHON else subprocess.Popen(command, **options)


class Forked:
    """A process as subprocess.Popen has it, as far as the supervisor uses it."""

    def __init__(
        self,
        command: list[str],
        *,
        stdin: int,
        stdout: IO[bytes],
        stderr: IO[bytes],
        env: Mapping[str, str],
        cwd: Path,
        pass_fds: Sequence[int],
        start_new_session: bool,
        preexec_fn: Callable[[], None],
    ) -> None:
        assert stdin == subprocess.DEVNULL
        assert start_new_session
        self.args = command
        self.returncode: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        # Until the child has its own handlers no signal may reach those of this process in it.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        has_started, starts = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            preexec_fn()
            _take_files(stdout.fileno(), stderr.fileno(), pass_fds)
            _forget_handlers()
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            os.chdir(cwd)
            end_with(partial(_run, command, env))
        os.close(starts)
        os.read(has_started, 1)  # until the child has closed its end too: it dies with its parent from now on
        os.close(has_started)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float = float("inf")) -> int:
        """Raises subprocess.TimeoutExpired."""
        ends = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > ends:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(_POLL_SECONDS)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def _take_files(output: int, errors: int, kept: Sequence[int]) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((nothing, output, errors)):
        os.dup2(file, number)
    first = 3
    for file in sorted(kept):
        os.closerange(first, file)
        first = file + 1
    os.closerange(first, max(int(path.name) for path in Path("/proc/self/fd").iterdir()) + 1)


def _forget_handlers() -> None:
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def end_with(program: Callable[[], object]) -> NoReturn:
    """Runs it, and ends the process as the interpreter would, but for what the process that forked has to finish."""
    code: object = 1
    try:
        program()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    if not (code is None or isinstance(code, int)):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    """As `python -m` does."""
    gc.freeze()
    os.environ.clear()
    os.environ.update(environment)
    sys.orig_argv = command
    sys.argv = command[len(PYTHON) :]
    sys.path[0] = str(Path.cwd())
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]
    _forgotten.extend(sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in _ANEW)
    for folder in filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)):
        sys.path.insert(1, folder)
        if (site := Path(folder, "sitecustomize.py")).exists():
            runpy.run_path(str(site))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
