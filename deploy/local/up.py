"""`callbox up`: the whole system on one machine, in the foreground.

All of it lives under one folder, and the next start goes on from what is there.
"""

import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import psycopg

from deploy.local import logfile, servers
from deploy.local.environment import environment_of
from deploy.local.servers import CannotStart
from deploy.local.supervisor import Child, Say, Supervisor, allow_many_files
from shared import inbox
from shared.config import Config
from workers import health, schema

READY_SECONDS = 60.0  # for everything to come up
EMPTY_SECONDS = 10.0  # at the end, for the workers to empty the inbox
LOOK_SECONDS = 0.1  # between two looks at the children
HEALTH_SECONDS = 5.0  # between two looks whether the worker does its work
HEALTH_WAIT_SECONDS = 0.5  # for Redis to answer then: a look must not hold up the restart of what died


@dataclass(frozen=True)
class Plan:
    """What to run, and where."""

    folder: Path
    config: Config
    port: int
    ingresses: int = 1
    workers: int = 2
    flower: bool = True
    redis_url: str | None = None  # None: an embedded server
    database_url: str | None = None


class _Stopped(Exception):
    """Someone asked for the end while everything was still coming up."""


class Up:
    """One `callbox up`. `addresses` are what it writes into DIR/env."""

    def __init__(self, plan: Plan, say: Say) -> None:
        self._plan = plan
        self._folder = plan.folder.resolve()
        self._say = say
        self._supervisor = Supervisor(self._folder, say)
        self._looked_at = 0.0
        self._stopping = False
        self.addresses: dict[str, str] = {}

    def run(self, when_ready: Callable[[], None]) -> None:
        """Runs until a signal asks it to end. Raises CannotStart, with nothing left running."""
        os.umask(0o077)  # what is kept here are messages and phone numbers
        allow_many_files()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._ask_to_stop)
        with self._listen() as (callbacks, admin), self._claim_folder():
            try:
                self._start(callbacks, admin)
                when_ready()
                while not self._stopping:
                    self._tend()
            except _Stopped:
                pass
            finally:
                callbacks.close()  # else the kernel goes on taking connections that nobody serves any more
                self._stop()

    def _ask_to_stop(self, number: int, frame: object) -> None:
        self._stopping = True

    @contextmanager
    def _listen(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        """One listening socket for the callbacks of all ingress processes, and one for their admin paths: a request
        goes to whichever takes it first, so that one that hangs holds up nobody."""
        host, port = self._plan.config.settings.admin_address or ("127.0.0.1", 0)
        other_port = "choose another with `callbox up --port N` or `make run PORT=N`"
        with (
            _bound("127.0.0.1", self._plan.port, other_port) as callbacks,
            _bound(host, port, "set CALLBOX_ADMIN_BIND to another HOST:PORT") as admin,
        ):
            self.addresses["CALLBOX_URL"] = f"http://127.0.0.1:{callbacks.getsockname()[1]}"
            here = "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host  # noqa: S104 - a question
            self.addresses["CALLBOX_ADMIN_URL"] = f"http://{here}:{admin.getsockname()[1]}"
            yield callbacks, admin

    @contextmanager
    def _claim_folder(self) -> Iterator[None]:
        """Makes the folder this process's own; a second `up` in it would fight over the data."""
        try:
            for name in ("", "logs", "metrics"):
                (self._folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self._folder / "lock").open("a+")
        except OSError as error:
            raise CannotStart(f"{self._folder}: cannot be written to: {error.strerror}; give another --data") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise CannotStart(
                    f"another `callbox up` runs in {self._folder}: stop it, or give another --data"
                ) from None
            yield

    def _start(self, callbacks: socket.socket, admin: socket.socket) -> None:
        for stale in (self._folder / "metrics").glob("*.db"):
            stale.unlink()
        for log in (self._folder / "logs").glob("*.log"):
            logfile.set_aside(log)
        self._start_servers()
        self._start_ours(callbacks.fileno(), admin.fileno())
        self._wait_until_ready()

    def _start_servers(self) -> None:
        """Redis and PostgreSQL, unless the environment names others, and the schema."""
        redis_url, database_url = self._plan.redis_url, self._plan.database_url
        if redis_url is None:
            own_redis = servers.Redis(self._folder / "redis", servers.password_in(self._folder / "redis.password"))
            redis_url = own_redis.url
            self._start_child("redis", own_redis.command())
        if database_url is None:
            if os.geteuid() == 0:  # PostgreSQL then runs as `nobody`, who passes through, but cannot list what is here
                self._folder.chmod(self._folder.stat().st_mode | 0o011)
            password = servers.password_in(self._folder / "postgres.password")
            own_postgres = servers.Postgres(self._folder / "postgres", password)
            database_url = own_postgres.url
            own_postgres.prepare()
            self._start_child("postgres", own_postgres.command(), stop_signal=signal.SIGINT)
        with inbox.connect(redis_url, 2.0) as client:
            self._wait("Redis", lambda: inbox.ping(client), inbox.RedisUnavailable)
        self._wait("PostgreSQL", lambda: schema.migrate(database_url) or True, psycopg.OperationalError)
        self.addresses |= {
            "CALLBOX_REDIS_URL": redis_url,
            "CALLBOX_DATABASE_URL": database_url,
            "CALLBOX_CONFIG": str(self._plan.config.path.resolve()),
        }

    def _start_child(self, name: str, command: list[str], **how: Any) -> None:
        role = name.partition("-")[0]
        spool = os.environ.get("CALLBOX_SPOOL_DIR") or str(self._folder / "spool")
        environ = {**os.environ, **self.addresses, "CALLBOX_SPOOL_DIR": spool}
        environment = environment_of(role, environ, self._plan.config.variables)
        if role == "ingress":
            environment["PROMETHEUS_MULTIPROC_DIR"] = str(self._folder / "metrics")  # where theirs add up
        self._supervisor.start(Child(name, command, environment, **how))

    def _start_ours(self, callbacks: int, admin: int) -> None:
        serve = [*_python("ingress"), "--fd", str(callbacks), "--admin-fd", str(admin)]
        for number in range(1, self._plan.ingresses + 1):
            self._start_child(f"ingress-{number}", serve, pass_fds=(callbacks, admin))
        celery = [*_python("celery"), "--quiet", "-A", "workers.app"]
        if self._plan.workers:
            options = ["--concurrency", str(self._plan.workers), "--without-gossip", "--without-mingle"]
            self._start_child("worker-1", [*celery, "worker", *options, "--loglevel", "INFO"])
        self._start_child("beat", [*celery, "beat", "--pidfile="])
        if self._plan.flower:
            port = servers.free_port(5555)
            self.addresses["FLOWER_URL"] = f"http://127.0.0.1:{port}"
            options = ["--address=127.0.0.1", f"--port={port}"]
            options += ["--tasks-columns=name,state,result,received,runtime,worker"]
            self._start_child("flower", [*celery, "flower", *options])
        env = "".join(f"{name}={value}\n" for name, value in self.addresses.items())
        servers.write_private(self._folder / "env", env)

    def _wait_until_ready(self) -> None:
        """Returns once a callback would go all the way."""
        began = time.monotonic()
        if self._plan.ingresses:
            self._wait("the ingress", lambda: _answers(f"{self.addresses['CALLBOX_ADMIN_URL']}/readyz"), URLError)
        if self._plan.workers:
            with inbox.connect(self.addresses["CALLBOX_REDIS_URL"], 2.0) as client:
                self._wait("a worker", lambda: _drained_since(client, began), inbox.RedisUnavailable)
        if self._plan.flower:
            self._wait("Flower", lambda: _answers(f"{self.addresses['FLOWER_URL']}/healthcheck"), URLError)

    def _wait(self, what: str, reached: Callable[[], Any], *trouble: type[Exception]) -> None:
        """Tends the children until it is reached. Raises _Stopped or CannotStart."""
        ends = time.monotonic() + READY_SECONDS
        while not self._stopping:
            with suppress(*trouble, OSError):
                if reached():
                    return
            if time.monotonic() > ends:
                raise CannotStart(f"{what} did not come up in {READY_SECONDS:g} s: see {self._folder / 'logs'}")
            self._tend()
        raise _Stopped

    def _tend(self) -> None:
        self._supervisor.tend()
        if time.monotonic() - self._looked_at >= HEALTH_SECONDS:
            self._looked_at = time.monotonic()
            self._end_stalled("worker-1")
        time.sleep(LOOK_SECONDS)

    def _end_stalled(self, name: str) -> None:
        """Ends a worker that lives but does nothing; it is started again like any that died."""
        worker = self._supervisor.child(name)
        if worker is None or worker.process is None or not worker.running():
            return
        prefix = health.consumer_prefix(worker.process.pid)
        url = self.addresses["CALLBOX_REDIS_URL"]
        with (
            suppress(inbox.RedisUnavailable, ProcessLookupError),
            inbox.connect(url, HEALTH_WAIT_SECONDS) as client,
        ):
            up_seconds = time.monotonic() - worker.started_at
            if why := health.stalled(client, prefix, self._plan.config.settings, up_seconds):
                self._say(f"{name} is stalled: {why}")
                os.killpg(worker.process.pid, signal.SIGKILL)  # with its children, which may be frozen too

    def _stop(self) -> None:
        """Ingress first, then the workers once the inbox is empty, the servers last."""
        self._supervisor.stop({"ingress"})
        self._let_drain()
        self._supervisor.stop({"beat", "worker", "flower"})
        self._supervisor.stop({"redis", "postgres"})
        for name in ("env", "pids.json"):
            (self._folder / name).unlink(missing_ok=True)

    def _let_drain(self) -> None:
        """Gives the workers a moment to empty the inbox; what is left stays there for the next start."""
        ends = time.monotonic() + EMPTY_SECONDS
        if not self._supervisor.running("worker-1"):
            return
        url = self.addresses["CALLBOX_REDIS_URL"]
        with suppress(inbox.RedisUnavailable), inbox.connect(url, 2.0) as client:
            inbox.ring(client, datetime.now(UTC))
            while inbox.take_snapshot(client).depth.entries and time.monotonic() < ends:
                time.sleep(LOOK_SECONDS / 2)


@contextmanager
def _bound(host: str, port: int, otherwise: str) -> Iterator[socket.socket]:
    """A listening socket. Raises CannotStart, which says what to do otherwise."""
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise CannotStart(f"port {port} cannot be used ({os.strerror(error.errno or 0)}): {otherwise}") from None
    with listener:
        yield listener


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _answers(url: str) -> bool:
    with urlopen(url, timeout=2) as response:  # noqa: S310 - our own address
        return bool(response.status == 200)


def _drained_since(client: inbox.Client, began: float) -> bool:
    """Whether a worker asked for entries since then; rings, so that one that is up does."""
    idle = inbox.activity(client, "").idle_seconds
    if idle is not None and idle < time.monotonic() - began:
        return True
    inbox.ring(client, datetime.now(UTC))
    return False


def addresses_of(folder: Path) -> Mapping[str, str]:
    """What a running `up` wrote into DIR/env; empty when none runs there."""
    try:
        lines = (folder / "env").read_text().splitlines()
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line)
