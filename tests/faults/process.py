"""A process of ours: started, harmed, and ended together with this one."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from deploy.local.supervisor import die_with_parent
from tests.pipeline.conftest import family

PATIENCE_SECONDS = 40.0  # for a process to start or to end


class Process:
    """One of them. What it says is added to `log`."""

    def __init__(
        self,
        name: str,
        command: Callable[[], list[str]],
        log: Path,
        folder: Path = Path("/"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._command = command
        self._log = log
        self._folder = folder
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def last_words(self) -> str:
        """The last line of its log."""
        return "".join(self._log.read_text(errors="replace").splitlines()[-1:])

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=self._environment,
                start_new_session=True,  # a Ctrl-C is for us alone
                preexec_fn=die_with_parent,
            )

    def ensure(self) -> None:
        """Starts it again when it did not stay: PostgreSQL waits for the last of its processes to be gone."""
        if not self.is_running:
            self.start()

    def signal(self, number: int) -> None:
        """To it and all that descend from it."""
        for pid in family(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """Without a word, and its helpers find out by themselves."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def end(self) -> None:
        """It and all that descend from it, at once."""
        if self.is_running:
            self.signal(signal.SIGKILL)
            self.wait()

    def stop(self) -> None:
        if self.is_running:
            self.signal(signal.SIGCONT)
            os.kill(self.pid, signal.SIGINT)
            self.wait()

    def wait(self) -> None:
        """Until it has ended. Raises TimeoutExpired."""
        assert self._process is not None
        self._process.wait(PATIENCE_SECONDS)
