"""The configuration that a running process has, and how it gets the next one: its file, read again.

A file with a mistake changes nothing. Only the sources can change: settings are variables of the environment, which a
process keeps for as long as it lives.
"""

from collections.abc import Callable
from typing import Literal

from shared import config, logs
from shared.config import Config, ConfigError
from shared.fingerprint import of_sources
from shared.inbox import Process

log = logs.get(__name__)


class Current:
    """One for each process, used by one thread at a time. `read` reads the file; raises ConfigError."""

    def __init__(self, configuration: Config, read: Callable[[], Config]) -> None:
        """Takes some 10 ms for each secret, as `read_again` does for each new one."""
        self.configuration = configuration
        self.fingerprint = of_sources(configuration.sources.values())
        self._read = read
        self._has_refused = False

    def read_again(self, adopt: Callable[[Config], None] = lambda read: None) -> bool:
        """Takes what the file holds now, unless there is a mistake; whether it did. Logs what changed, or every
        mistake. `adopt` hands it to others first; what that raises leaves everything as it was."""
        try:
            read = self._read()
        except ConfigError as error:
            self._has_refused = True
            for mistake in error.mistakes:
                log.error("configuration refused", why=mistake, has=self.fingerprint)
            return False
        self._has_refused = True  # until it is handed on
        adopt(read)
        self._has_refused = False
        self.fingerprint = of_sources(read.sources.values())
        log.info("configuration read", has=self.fingerprint, **config.difference(self.configuration, read))
        self.configuration = read
        return True

    def report(self, role: Literal["ingress", "worker"]) -> Process:
        """What this process reports of itself."""
        return Process(role, self.fingerprint, self._has_refused)
