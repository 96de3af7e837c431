"""Real processes: `callbox up` in a folder of its own, and how to look at it from outside."""

import atexit
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import psycopg
import pytest
from psycopg.rows import dict_row

from deploy.local import simulator
from deploy.local.files import read_addresses
from deploy.local.sender import Answer, Sender
from deploy.local.servers import free_port
from deploy.local.supervisor import die_with_parent
from shared import config, inbox
from shared.callback import Request
from shared.providers import PROVIDERS
from tests.conftest import wait_until
from tests.pipeline import cluster, prepared
from tests.providers.support import example_of

CALLBOX = str(Path(sys.executable).with_name("callbox"))
SOURCES = """
[sources.fleet]
provider = "emnify"
secrets = ["an-api-secret-of-emnify-long-enough"]

[sources.otp]
provider = "nxcloud"
token = "a-token-that-nobody-guesses"

[sources.support]
provider = "messente"
secrets = ["shared-secret-of-a-number", "password-of-an-api-key"]

[sources.open]
provider = "emnify"
unsigned = true
""" + "".join(map(example_of, PROVIDERS))
SECONDS = 60.0
PYTHON = (sys.executable, "-m")
CELERY = (*PYTHON, "celery", "-A", "workers.app")
WORKER = (*PYTHON, "workers", "worker", "--concurrency", "1")
PATIENT = {"CALLBOX_APPEND_SECONDS": "20"}  # a busy machine is no reason to spool, unless a test says so


class Running:
    """One `callbox up`, seen from outside."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        environment: dict[str, str] | None = None,
        sources: str = SOURCES,
        is_forked: bool = False,
        is_first: bool = True,
    ) -> None:
        """It is ready sooner when it is forked, as its processes are then (prepared.py), and when it is not the first
        in its folder, which makes a cluster of PostgreSQL (cluster.py)."""
        self.folder = folder
        self.data = folder / "var"
        self.environment = {**clean_environment(), **PATIENT, "FLOWER_PORT": str(free_port()), **(environment or {})}
        (folder / "callbox.toml").write_text(sources)
        if not is_first and "CALLBOX_DATABASE_URL" not in self.environment:
            cluster.copy_to(self.data)
        words = ["up", "--port", "0", *options]
        self.process: subprocess.Popen[bytes] | prepared.Process
        with (folder / "output").open("wb") as output:
            if is_forked:
                self.process = _prepared().start(words, folder, self.environment, output, output)
            else:
                self.process = subprocess.Popen(
                    [CALLBOX, *words],
                    cwd=folder,
                    stdout=output,
                    stderr=output,
                    env=self.environment,
                    preexec_fn=die_with_parent,  # a test run that is killed leaves nothing behind
                )

    def wait_ready(self) -> "Running":
        wait_until(lambda: "ready http" in self.output or self.process.poll() is not None, "ready", SECONDS)
        assert self.process.poll() is None, self.output
        self.addresses = dict(read_addresses(self.data))
        self.url = self.addresses["CALLBOX_URL"]
        self.admin_url = self.addresses["CALLBOX_ADMIN_URL"]
        self.sources = config.load(self.folder / "callbox.toml", self.environment, PROVIDERS).sources
        return self

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()

    @property
    def pids(self) -> dict[str, int]:
        pids: dict[str, int] = json.loads((self.data / "pids.json").read_text())
        return pids

    def logs(self) -> str:
        return "".join(path.read_text(errors="replace") for path in (self.data / "logs").iterdir())

    def command(self, *words: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        done = callbox(*words, cwd=self.folder)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def request(self, source: str, kind: simulator.Kind, seed: int | None = None) -> Request:
        dice = Random(seed)
        return simulator.request(self.sources[source], simulator.event(kind, datetime.now(UTC), dice))

    def send(self, *requests: Request) -> list[str]:
        """Sends them; the ids under which all were accepted."""
        answers = self.answers(*requests)
        assert all(answer.status == 200 and answer.callback_id for answer in answers), answers
        return [str(answer.callback_id) for answer in answers]

    def answers(self, *requests: Request) -> list[Answer]:
        with Sender(self.url) as sender:
            return [sender.send(request) for request in requests]

    def drained(self) -> bool:
        url = self.addresses["CALLBOX_REDIS_URL"]
        with suppress(inbox.RedisUnavailable), inbox.connect(url, 5.0) as client:
            return inbox.take_snapshot(client).depth.entries == 0
        return False

    def wait_drained(self) -> None:
        wait_until(self.drained, "an empty inbox", SECONDS)

    def query(self, sql: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.addresses["CALLBOX_DATABASE_URL"], row_factory=dict_row) as connection:
            return connection.execute(sql.encode()).fetchall()

    def kill(self) -> None:
        """Ends it and all that it started at once, unless it has ended: for when nobody looks at how it stops."""
        if self.process.poll() is None:
            pids = family(self.process.pid)
            self.process.kill()
            self.process.wait()
            wait_until(lambda: not any(map(alive, pids)), "the end of what was killed", SECONDS)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


def http(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, bytes, Any]:
    try:
        with urlopen(HttpRequest(url, body, headers, method=method), timeout=30) as response:
            return response.status, response.read(), response.headers
    except HTTPError as error:
        return error.code, error.read(), error.headers


def flower_tasks(system: Running) -> list[dict[str, Any]]:
    """Every task that Flower knows of, as its page of tasks asks for them."""
    query = "draw=1&start=0&length=1000&order[0][column]=0&order[0][dir]=desc&columns[0][data]=received"
    status, body, _ = http(f"{system.addresses['FLOWER_URL']}/tasks/datatable?{query}")
    assert status == 200
    found: list[dict[str, Any]] = json.loads(body)["data"]
    return found


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("CALLBOX_", "PROMETHEUS_"))}


def callbox(*words: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A process of its own, which has imported all that it needs already."""
    return _prepared().run(words, cwd, {**clean_environment(), **environment}, SECONDS)


@cache
def _prepared() -> prepared.Server:
    server = prepared.Server()
    atexit.register(server.stop)
    return server


def family(pid: int) -> set[int]:
    """The process and all that descend from it."""
    children = {pid}
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                children |= family(int(child))
    return children


def alive(pid: int) -> bool:
    """Whether it still runs; one that ended and was not waited for does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@contextmanager
def running(folder: Path, *options: str, **environment: str) -> Iterator[Running]:
    up = Running(folder, *options, environment=environment, is_forked=True, is_first=False)
    try:
        yield up.wait_ready()
    finally:
        up.kill()


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One system for all tests that leave it as they found it: two ingresses, two children, Flower."""
    with running(tmp_path_factory.mktemp("up"), "--ingress", "2", "--workers", "2") as up:
        yield up


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts systems of a test's own, in one folder, and stops what the test left running."""
    started: list[Running] = []

    def start(
        *options: str, sources: str = SOURCES, is_forked: bool = True, is_first: bool = False, **environment: str
    ) -> Running:
        up = Running(
            tmp_path,
            *options,
            environment=environment,
            sources=sources,
            is_forked=is_forked,
            is_first=is_first,
        )
        started.append(up)
        return up.wait_ready()

    yield start
    for up in started:
        up.kill()


Run = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts a command by hand; what it says goes to a file of the given name."""
    (tmp_path / "callbox.toml").write_text(SOURCES)
    started = []

    def run(name: str, *command: str, **environment: str) -> "subprocess.Popen[bytes]":
        with (tmp_path / name).open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=tmp_path,
                env={**clean_environment(), **environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        started.append(process)
        return process

    yield run
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
