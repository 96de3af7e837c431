"""`callbox up`: the whole system on one machine, in the foreground.

All of it is kept under one folder, and the next start goes on from what is there.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import psycopg

from deploy.local import processes, servers
from deploy.local.environment import environment_of
from deploy.local.errors import CannotStart
from deploy.local.files import read_password, remove_traces, write_addresses
from deploy.local.folder import claimed, clear
from deploy.local.listeners import Listeners, listen
from deploy.local.plan import Plan
from deploy.local.readiness import answers, has_drained, wait_until_empty
from deploy.local.stalls import StallCheck
from deploy.local.supervisor import Child, Report, Supervisor, allow_many_files
from deploy.text import first_line
from shared import config, hangup, inbox
from shared.config import ConfigError
from shared.env_file import beside
from shared.providers import PROVIDERS
from workers import schema

READY_SECONDS = 60.0  # for everything to come up
HINT_SECONDS = 3.0  # until it is reported what is waited for
EMPTY_SECONDS = 10.0  # at the end, for the workers to empty the inbox
REDIS_SECONDS = 2.0  # for Redis to answer
# What commands must know beside the addresses, to see the same inbox.
OF_THE_INBOX = ("CALLBOX_BROKER_URL", "CALLBOX_INBOX_SHARDS", "CALLBOX_REDIS_WAIT_REPLICAS")
POLL_SECONDS = 0.1  # between two checks of the children


class _Stopped(Exception):
    """A signal asked for the end while everything was still coming up."""


class Up:
    """One `callbox up`. `addresses` are what it writes into DIR/env."""

    def __init__(self, plan: Plan, report: Report) -> None:
        self._plan = plan
        self._report = _patient(report)
        self._supervisor = Supervisor(plan.folder, self._report)
        self._stall_check = StallCheck(self._report)
        self._settings = plan.config.settings
        self._terminal = hangup.Terminal()
        self._stopping = False
        self._has_hung_up = False
        self.addresses: dict[str, str] = {}

    def run(self, when_ready: Callable[[], None]) -> None:
        """Runs until a signal asks it to end. Raises CannotStart, with nothing left running."""
        os.umask(0o077)  # the files here hold messages and phone numbers
        allow_many_files()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_stop)
        signal.signal(signal.SIGHUP, self._hang_up)
        with claimed(self._plan.folder), listen(self._plan.port, self._plan.config.settings) as listeners:
            self.addresses |= listeners.addresses()
            try:
                self._start(listeners)
                with suppress(OSError):  # what cannot be shown is no reason to stop
                    when_ready()
                while not self._stopping:
                    self._tend()
                    if self._has_hung_up:
                        self._has_hung_up = False
                        self._reload()
            except _Stopped:
                pass
            finally:
                listeners.callbacks.close()  # else the kernel accepts connections that no process serves
                self._stop()

    def _ask_to_stop(self, number: int, frame: object) -> None:
        self._stopping = True

    def _hang_up(self, number: int, frame: object) -> None:
        if self._terminal.has_gone():
            self._stopping = True
        else:
            self._has_hung_up = True

    def _reload(self) -> None:
        """Has the processes read callbox.toml again, unless it has a mistake. The workers first: they should know a new
        source when its first callback comes."""
        before = self._plan.config
        try:
            read = config.load(before.path, os.environ, PROVIDERS)
        except ConfigError as error:
            for mistake in error.mistakes:
                self._report(f"not reloaded, nothing changed: {mistake}")
            return
        if unseen := sorted(name for name in read.variables - before.variables if os.environ.get(name)):
            self._report(
                f"not reloaded, nothing changed: {before.path} names {', '.join(unseen)} now, which running processes"
                f" do not get from the environment: put it into {beside(before.path)}, or start `callbox up` again"
            )
            return
        self._plan = replace(self._plan, config=read)
        for role in ("worker", "ingress"):
            self._supervisor.notify(role, signal.SIGHUP, self._environment_of(role))
        changes = (f"{what} {', '.join(names)}" for what, names in config.difference(before, read).items())
        self._report(f"reloaded {before.path}: {'; '.join(changes) or 'no source changed'}")

    def _start(self, listeners: Listeners) -> None:
        clear(self._plan.folder)
        redis_url = self._plan.redis_url or self._start_redis()
        database_url = self._plan.database_url or self._start_postgres()
        self._settings = replace(self._settings, redis_url=redis_url, database_url=database_url)
        with inbox.Inbox.connect(self._settings, REDIS_SECONDS) as found:
            named_by = "CALLBOX_REDIS_URL" if self._plan.redis_url else None
            self._wait("Redis", found.ping, inbox.RedisUnavailable, named_by=named_by)
        is_own = self._plan.database_url is None  # so that no process of another release uses it
        named_by = None if is_own else "CALLBOX_DATABASE_URL"
        waits = partial(self._report, "waiting for the end of another migration")
        migrate = partial(schema.migrate, database_url, is_own, waits)
        self._wait("PostgreSQL", migrate, psycopg.OperationalError, named_by=named_by)
        spool = Path(os.environ.get("CALLBOX_SPOOL_DIR") or self._plan.folder / "spool")
        self.addresses |= {
            "CALLBOX_REDIS_URL": redis_url,
            "CALLBOX_DATABASE_URL": database_url,
            "CALLBOX_CONFIG": str(self._plan.config.path.absolute()),
            "CALLBOX_SPOOL_DIR": str(spool.absolute()),
            **{name: os.environ[name] for name in OF_THE_INBOX if os.environ.get(name)},
        }
        self._start_roles(listeners)
        write_addresses(self._plan.folder, self.addresses)
        self._wait_until_ready()

    def _start_redis(self) -> str:
        """The URL of an embedded server."""
        folder = self._plan.folder
        server = servers.Redis(folder / "redis", read_password(folder / "redis.password"))
        self._start_child("redis", server.command())
        return server.url

    def _start_postgres(self) -> str:
        """The URL of an embedded server."""
        folder = self._plan.folder
        if os.geteuid() == 0:  # PostgreSQL then runs as `nobody`, who passes through the folder, but cannot list it
            folder.chmod(folder.stat().st_mode | 0o011)
        server = servers.Postgres(folder / "postgres", read_password(folder / "postgres.password"))
        server.prepare()
        self._start_child("postgres", server.command(), stop_signal=signal.SIGINT)
        return server.url

    def _start_roles(self, listeners: Listeners) -> None:
        roles = self._plan.roles
        descriptors = tuple(listener.fileno() for listener in listeners)
        for number in range(1, roles.ingresses + 1):
            self._start_child(f"ingress-{number}", processes.ingress(listeners), pass_fds=descriptors)
        if roles.workers:
            self._choose_admin_address("WORKER")
            self._start_child("worker-1", processes.worker(roles.workers))
        self._choose_admin_address("BEAT")
        self._start_child("beat", processes.beat())
        if roles.flower:
            port = servers.free_port(processes.flower_port())
            self.addresses["FLOWER_URL"] = f"http://127.0.0.1:{port}"
            self._start_child("flower", processes.flower(port))

    def _choose_admin_address(self, role: str) -> None:
        """Where a process of this role answers what is asked about it."""
        self.addresses[f"CALLBOX_{role}_ADMIN_URL"] = f"http://127.0.0.1:{servers.free_port()}"

    def _start_child(self, name: str, command: list[str], **options: Any) -> None:
        role = name.partition("-")[0]
        self._supervisor.start(Child(name, command, self._environment_of(role), **options))

    def _environment_of(self, role: str) -> Mapping[str, str]:
        environ = {**os.environ, **self.addresses}
        environment = environment_of(role, environ, self._plan.config.variables)
        if role == "ingress":
            folder = self._plan.folder
            environment["PROMETHEUS_MULTIPROC_DIR"] = str(folder / "metrics")  # where the metrics of all add up
            environment["CALLBOX_STOP_GRACE_SECONDS"] = "0"  # no other ingress is there to take over
        elif admin_url := self.addresses.get(f"CALLBOX_{role.upper()}_ADMIN_URL"):
            # The environment's own is that of the ingresses.
            environment["CALLBOX_ADMIN_BIND"] = admin_url.removeprefix("http://")
        return environment

    def _wait_until_ready(self) -> None:
        """Returns once a callback would go all the way."""
        began = time.monotonic()
        roles = self._plan.roles
        if roles.ingresses:
            self._wait("the ingress", lambda: answers(f"{self.addresses['CALLBOX_ADMIN_URL']}/readyz"), URLError)
        if roles.workers:
            with inbox.Inbox.connect(self._settings, REDIS_SECONDS) as found:
                self._wait("a worker", lambda: has_drained(found, began), inbox.RedisUnavailable)
        if roles.flower:
            self._wait("Flower", lambda: answers(f"{self.addresses['FLOWER_URL']}/healthcheck"), URLError)

    def _wait(
        self, what: str, attempt: Callable[[], Any], *errors: type[Exception], named_by: str | None = None
    ) -> None:
        """Tends the children until an attempt neither raises one of these errors nor returns False. `named_by` is the
        variable that names what is waited for, unless it is a child.

        Raises _Stopped or CannotStart.
        """
        expected: tuple[type[Exception], ...] = (*errors, OSError)
        advice = f"is {named_by} right?" if named_by else f"see {self._plan.folder / 'logs'}"
        began = time.monotonic()
        ends, hint_at = began + READY_SECONDS, began + HINT_SECONDS
        while not self._stopping:
            why = ""
            try:
                if attempt() is not False:
                    return
            except expected as error:
                why = f" ({first_line(error)})"
            now = time.monotonic()
            if named_by and now > hint_at:
                self._report(f"waiting for {what}{why}: {advice}")
                hint_at = float("inf")
            if now > ends:
                raise CannotStart(f"{what} did not come up in {READY_SECONDS:g} s{why}: {advice}")
            self._tend()
        raise _Stopped

    def _tend(self) -> None:
        self._supervisor.tend()
        if self.addresses.get("CALLBOX_REDIS_URL"):
            self._stall_check.check(self._supervisor.child("worker-1"), self._settings)
        time.sleep(POLL_SECONDS)

    def _stop(self) -> None:
        """The ingress first, then the workers once the inbox is empty, the servers last."""
        if self._stopping:
            self._report("stopping…")
        self._supervisor.stop({"ingress"})
        self._let_drain()
        self._supervisor.stop({"beat", "worker", "flower"})
        self._supervisor.stop({"redis", "postgres"})
        remove_traces(self._plan.folder)

    def _let_drain(self) -> None:
        """Gives the workers a moment to empty the inbox; what is left stays there for the next start."""
        if not self._supervisor.running("worker-1"):
            return
        with suppress(inbox.RedisUnavailable), inbox.Inbox.connect(self._settings, REDIS_SECONDS) as found:
            found.ring(datetime.now(UTC))
            wait_until_empty(found, EMPTY_SECONDS)


def _patient(report: Report) -> Report:
    """The same, whatever becomes of the terminal, or of the file in its place: its end is no reason to stop."""

    def reported(line: str) -> None:
        with suppress(OSError):
            report(line)

    return reported
