"""`callbox up`: the whole system on one machine, in the foreground, restarting what dies.

Everything it starts is its own child and dies with it, also when it is killed: the kernel signals the children
(PR_SET_PDEATHSIG). All of it lives under one folder, and the next start goes on from what is there.
"""

import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from urllib.error import URLError
from urllib.request import urlopen

import psycopg
import redis

from deploy import servers
from deploy.servers import CannotStart
from shared import inbox
from shared.config import Config
from workers import schema

READY_SECONDS = 60.0  # for everything to come up
STOP_SECONDS = 15.0  # for one process to end by itself, before it is killed
EMPTY_SECONDS = 10.0  # at the end, for the workers to empty the inbox
LONGEST_PAUSE_SECONDS = 5.0  # between two tries to restart what keeps dying
STEADY_SECONDS = 10.0  # after which a process counts as running, and the pauses begin anew

Say = Callable[[str], None]


@dataclass
class Child:
    """One process, and how to start and stop it."""

    name: str
    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: int = signal.SIGTERM
    pass_fds: tuple[int, ...] = ()
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    restart_at: float | None = None
    pause_seconds: float = 0.0

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None


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


class Stopped(Exception):
    """Someone asked for the end while everything was still coming up."""


class Up:
    """The processes of one `callbox up`."""

    def __init__(self, plan: Plan, say: Say) -> None:
        self._plan = plan
        self._say = say
        self._folder = plan.folder.resolve()
        self._children: list[Child] = []
        self._environment: dict[str, str] = {}
        self._stopping = False
        self.addresses: dict[str, str] = {}

    def run(self, when_ready: Callable[[], None]) -> None:
        """Runs until a signal asks it to end. Raises CannotStart, with nothing left running."""
        os.umask(0o077)  # what is kept here are messages and phone numbers
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._ask_to_stop)
        with self._listen() as listener, self._claim_folder():
            try:
                self._start(listener)
                when_ready()
                while not self._stopping:
                    self._tend()
            except Stopped:
                pass
            finally:
                self._stop()

    def _ask_to_stop(self, number: int, frame: object) -> None:
        self._stopping = True

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

    @contextmanager
    def _listen(self) -> Iterator[socket.socket]:
        """One listening socket for all ingress processes: a request goes to whichever takes it first, so that one
        that hangs holds up nobody."""
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", self._plan.port))
            except OSError as error:
                raise CannotStart(
                    f"port {self._plan.port} cannot be used ({error.strerror}): choose another with "
                    "`callbox up --port N` or `make run PORT=N`"
                ) from None
            listener.listen(1024)
            self.addresses["CALLBOX_URL"] = f"http://127.0.0.1:{listener.getsockname()[1]}"
            yield listener

    def _start(self, listener: socket.socket) -> None:
        for stale in (self._folder / "metrics").glob("*.db"):
            stale.unlink()
        for log in (self._folder / "logs").glob("*.log"):
            log.replace(log.with_suffix(".log.1"))  # those of the last time, and no older ones
        redis_url, database_url = self._start_servers()
        self._environment = {
            **os.environ,
            "CALLBOX_REDIS_URL": redis_url,
            "CALLBOX_DATABASE_URL": database_url,
            "CALLBOX_CONFIG": str(self._plan.config.path.resolve()),
            "CALLBOX_SPOOL_DIR": str(self._folder / "spool"),
        }
        self.addresses |= {name: self._environment[name] for name in ("CALLBOX_REDIS_URL", "CALLBOX_DATABASE_URL")}
        self.addresses["CALLBOX_CONFIG"] = self._environment["CALLBOX_CONFIG"]
        client = inbox.connect(redis.Redis, redis_url, 2.0)
        self._wait("Redis", lambda: client.ping(), redis.RedisError)
        self._wait("PostgreSQL", lambda: schema.migrate(database_url) or True, psycopg.OperationalError)
        self._start_ours(listener)
        servers.write_private(
            self._folder / "env", "".join(f"{name}={value}\n" for name, value in self.addresses.items())
        )
        if self._plan.ingresses:
            self._wait("the ingress", lambda: _answers(f"{self.addresses['CALLBOX_URL']}/readyz"), URLError)
        if self._plan.workers:
            began = time.monotonic()
            self._wait("a worker", lambda: _drained_since(client, began), redis.RedisError)
        if "FLOWER_URL" in self.addresses:
            self._wait("Flower", lambda: _answers(f"{self.addresses['FLOWER_URL']}/healthcheck"), URLError)
        client.close()

    def _start_servers(self) -> tuple[str, str]:
        """Starts what the environment does not name; the URLs of Redis and PostgreSQL."""
        password = servers.password_in(self._folder)
        redis_url, database_url = self._plan.redis_url, self._plan.database_url
        if redis_url is None:
            own_redis = servers.Redis(self._folder / "redis", password)
            redis_url = own_redis.url
            self._spawn(Child("redis", own_redis.command()))
        if database_url is None:
            own_postgres = servers.Postgres(self._folder / "postgres", password)
            database_url = own_postgres.url
            own_postgres.prepare()
            self._spawn(Child("postgres", own_postgres.command(), stop_signal=signal.SIGINT))
        return redis_url, database_url

    def _start_ours(self, listener: socket.socket) -> None:
        handle = listener.fileno()
        serve = [*_python("uvicorn"), "ingress.app:app", "--fd", str(handle), "--timeout-keep-alive", "75"]
        serve += ["--http", "ingress.protocol:Bounded", "--no-access-log", "--no-server-header"]
        metrics = {"PROMETHEUS_MULTIPROC_DIR": str(self._folder / "metrics")}  # theirs add up there
        for number in range(1, self._plan.ingresses + 1):
            self._spawn(Child(f"ingress-{number}", serve, metrics, pass_fds=(handle,)))
        celery = [*_python("celery"), "--quiet", "-A", "workers.app"]
        if self._plan.workers:
            options = ["--concurrency", str(self._plan.workers), "--without-gossip", "--without-mingle"]
            self._spawn(Child("worker-1", [*celery, "worker", *options, "--loglevel", "INFO"]))
        self._spawn(Child("beat", [*celery, "beat", "--pidfile="]))
        if self._plan.flower:
            port = servers.free_port(5555)
            self.addresses["FLOWER_URL"] = f"http://127.0.0.1:{port}"
            options = [
                "--address=127.0.0.1",
                f"--port={port}",
                "--tasks-columns=name,state,result,received,runtime,worker",
            ]
            self._spawn(Child("flower", [*celery, "flower", *options]))

    def _spawn(self, child: Child) -> None:
        if child not in self._children:
            self._children.append(child)
        with self._log_of(child) as log:
            child.process = subprocess.Popen(
                child.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**(self._environment or os.environ), **child.environment},
                cwd=self._folder,
                pass_fds=child.pass_fds,
                start_new_session=True,  # Ctrl-C is for us alone: we stop the others, in order
                preexec_fn=die_with_parent,
            )
        child.started_at = time.monotonic()
        child.restart_at = None
        self._write_pids()

    def _log_of(self, child: Child) -> IO[bytes]:
        return (self._folder / "logs" / f"{child.name}.log").open("ab")

    def _write_pids(self) -> None:
        pids = {child.name: child.process.pid for child in self._children if child.process and child.running()}
        servers.write_private(self._folder / "pids.json", json.dumps(pids, indent=2) + "\n")

    def _tend(self) -> None:
        """One look at every child: starts again what died, after pauses that grow while it keeps dying."""
        now = time.monotonic()
        for child in self._children:
            if child.running():
                continue
            if child.restart_at is None:
                if now - child.started_at > STEADY_SECONDS:
                    child.pause_seconds = 0.0
                child.restart_at = now + child.pause_seconds
                code = child.process.returncode if child.process else None
                self._say(f"{child.name} {_how_it_ended(code)}; starting it again (logs/{child.name}.log)")
                child.pause_seconds = min(LONGEST_PAUSE_SECONDS, 2 * child.pause_seconds + 0.2)
                self._write_pids()
            if now >= child.restart_at:
                self._spawn(child)
        time.sleep(0.1)

    def _wait(self, what: str, reached: Callable[[], Any], *trouble: type[Exception]) -> None:
        """Tends the children until it is reached. Raises Stopped or CannotStart."""
        ends = time.monotonic() + READY_SECONDS
        while not self._stopping:
            with suppress(*trouble, OSError):
                if reached():
                    return
            if time.monotonic() > ends:
                raise CannotStart(f"{what} did not come up in {READY_SECONDS:g} s: see {self._folder / 'logs'}")
            self._tend()
        raise Stopped

    def _stop(self) -> None:
        """Ingress first, then the workers once the inbox is empty, the servers last."""
        for names in (("ingress",), (), ("beat", "worker", "flower"), ("redis", "postgres")):
            if not names:
                self._let_drain()
            going = [child for child in self._children if child.name.partition("-")[0] in names]
            for child in going:
                if child.process is not None and child.running():
                    child.process.send_signal(child.stop_signal)
                    child.process.send_signal(signal.SIGCONT)
            for child in going:
                self._bury(child)
        for name in ("env", "pids.json"):
            (self._folder / name).unlink(missing_ok=True)

    def _let_drain(self) -> None:
        """Gives the workers a moment to empty the inbox; what is left stays there for the next start."""
        worker = next((child for child in self._children if child.name == "worker-1"), None)
        ends = time.monotonic() + EMPTY_SECONDS
        url = self._environment.get("CALLBOX_REDIS_URL")
        if worker is None or url is None:
            return
        with suppress(redis.RedisError), inbox.connect(redis.Redis, url, 2.0) as client:
            inbox.Claimer(client, "up").ring(datetime.now(UTC))
            while worker.running() and inbox.look(client).depth.entries and time.monotonic() < ends:
                time.sleep(0.05)

    def _bury(self, child: Child) -> None:
        if child.process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):  # its group, for children that it may have left
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _answers(url: str) -> bool:
    with urlopen(url, timeout=2) as response:  # noqa: S310 - our own address
        return bool(response.status == 200)


def _drained_since(client: redis.Redis, began: float) -> bool:
    """Whether a worker asked for entries since then; rings, so that one that is up does."""
    idle = inbox.seconds_since_turn(client)
    if idle is not None and idle < time.monotonic() - began:
        return True
    inbox.Claimer(client, "up").ring(datetime.now(UTC))
    return False


def _how_it_ended(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with code {code}"
    return f"was ended by {signal.Signals(-code).name}"


def die_with_parent() -> None:
    """In the child, before it becomes what it is to be: has the kernel kill it when its parent is gone (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, see prctl(2)


def addresses_of(folder: Path) -> Mapping[str, str]:
    """What a running `up` wrote into DIR/env; empty when none runs there."""
    try:
        lines = (folder / "env").read_text().splitlines()
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line)
