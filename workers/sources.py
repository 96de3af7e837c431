"""The sources of a worker. Its parent reads callbox.toml, again when SIGHUP asks for it, and reports what it has; its
children use what it read last."""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any

from shared import config, hangup, inbox, logs
from shared.current import Current
from shared.inbox import RedisUnavailable
from shared.providers import PROVIDERS
from shared.settings import Settings
from shared.source import Source
from workers.handover import Handover

ANSWER_SECONDS = 2.0  # for Redis to take a report

log = logs.get(__name__)


class Sources(Mapping[str, Source]):
    """By name, as they are at the moment: a worker process looks one up for each callback. None has a secret or a
    token, which only the ingress needs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._handover: Handover[dict[str, Source]] = Handover()
        self._present: dict[str, Source] = {}
        self._asked: SimpleQueue[None] = SimpleQueue()  # the one queue that a signal handler may use
        self._current: Current | None = None

    def start(self) -> None:
        """For the parent, before it forks: reads the file, or exits with its mistakes, and follows it from then on."""
        hangup.postpone()
        configuration = config.or_exit(lambda: config.load(None, os.environ, PROVIDERS))
        self._current = Current(configuration, lambda: config.load(configuration.path, os.environ, PROVIDERS))
        self._handover.give(_for_workers(configuration.sources))
        threading.Thread(target=self._follow, args=(self._current,), name="sources", daemon=True).start()

    def follow_hangups(self) -> None:
        """For the parent, in its first thread: has SIGHUP mean that the file is read again."""
        terminal = hangup.Terminal()

        def hung_up(*_: Any) -> None:
            if terminal.has_gone():
                signal.raise_signal(signal.SIGTERM)
            else:
                self._asked.put(None)

        signal.signal(signal.SIGHUP, hung_up)
        hangup.deliver()

    def leave(self) -> None:
        """For a parent that ends: takes its report back."""
        if self._current is not None:
            with suppress(RedisUnavailable), inbox.Inbox.connect(self._settings, ANSWER_SECONDS) as found:
                inbox.forget_process(found.first, self._current.report("worker"))

    def get(self, name: str, default: Any = None) -> Any:
        return self._now().get(name, default)

    def __getitem__(self, name: str) -> Source:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def _now(self) -> dict[str, Source]:
        if self._handover.has_new():
            self._present = self._handover.take()
        return self._present

    def _follow(self, current: Current) -> None:
        """Reads the file when it is asked to, and reports every minute, for as long as the worker runs."""
        while True:
            with suppress(RedisUnavailable), inbox.Inbox.connect(self._settings, ANSWER_SECONDS) as found:
                inbox.report_process(found.first, current.report("worker"))
            with suppress(Empty):
                self._asked.get(timeout=inbox.REPORT_SECONDS)
                try:
                    current.read_again(lambda read: self._handover.give(_for_workers(read.sources)))
                except Exception as error:
                    log.error("reloading failed", do="see what is wrong, and send SIGHUP again", exc_info=error)


def _for_workers(sources: Mapping[str, Source]) -> dict[str, Source]:
    return {name: replace(source, secrets=(), token=None) for name, source in sources.items()}
