"""What Prometheus watches: `callbox up` under a little traffic, and beside it an ingress whose Redis has a replica."""

import os
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from shutil import copytree, rmtree

import psycopg
import redis

from deploy.local import servers, simulator
from deploy.local.files import read_addresses
from deploy.local.sender import Sender
from deploy.local.servers import free_port
from shared import config, inbox
from shared.callback import Request
from shared.providers import PROVIDERS
from shared.source import Source
from tests.alerts.prometheus import Prometheus
from tests.conftest import answers, wait_until
from tests.faults.process import Process
from tests.pipeline.conftest import PATIENT, PYTHON, SECONDS, Running, clean_environment, family, http

SOURCES = """
[sources.fleet]
provider = "emnify"
secrets = ["the-new-secret-of-emnify-long-enough", "the-old-secret-of-emnify-long-enough"]

[sources.quiet]
provider = "emnify"
secrets = ["the-only-secret-of-emnify-long-enough"]

[sources.open]
provider = "emnify"
unsigned = true
"""
LATE = """
[sources.late]
provider = "emnify"
unsigned = true
"""
SETTINGS = {
    **PATIENT,
    "CALLBOX_BEAT_SECONDS": "0.5",
    "CALLBOX_STALL_SECONDS": "600",  # a worker that is frozen stays so
    "CALLBOX_GROUP_BYTES": "32768",
    "CALLBOX_SPOOL_BYTES": "131072",  # full within seconds
    "PYTHONPATH": str(Path(__file__).parent),
}
PAUSE_SECONDS = 0.1  # between two callbacks of the traffic


class Traffic(threading.Thread):
    """Sends callbacks of some sources in turn, whatever becomes of them."""

    def __init__(self, url: str, sources: dict[str, Source], names: set[str]) -> None:
        super().__init__(daemon=True)
        self.names = names
        self.ended = threading.Event()
        self._url = url
        self._sources = sources

    def run(self) -> None:
        dice = Random(1)
        with Sender(self._url) as sender:
            while not self.ended.wait(PAUSE_SECONDS):
                for name in sorted(self.names):
                    happened = simulator.event("mo", datetime.now(UTC), dice)
                    sender.send(simulator.request(self._sources[name], happened))


class System:
    """All of it, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._redis = servers.Redis(folder / "redis", "pw")
        self._postgres = servers.Postgres(folder / "postgres", "pw")
        primary, replica = servers.Redis(folder / "primary", "pw"), servers.Redis(folder / "replica", "pw")
        following = ["--replicaof", f"127.0.0.1 {primary.port}", "--masterauth", "pw"]
        self.redis = self._process("redis", self._redis.command)
        self.postgres = self._process("postgres", self._postgres.command)
        at_once = ["--repl-diskless-sync-delay", "0"]  # no other replica comes that it could wait for
        self.primary = self._process("primary", lambda: [*primary.command(), *at_once])
        self.replica = self._process("replica", lambda: [*replica.command(), *following])
        self._alone_port, bind = free_port(), f"127.0.0.1:{free_port()}"
        alone = {
            "CALLBOX_REDIS_URL": primary.url,
            "CALLBOX_REDIS_WAIT_REPLICAS": "1",
            "CALLBOX_APPEND_SECONDS": "1",
            "CALLBOX_CONFIG": str(folder / "callbox.toml"),
            "CALLBOX_SPOOL_DIR": str(folder / "spool-alone"),
            "CALLBOX_ADMIN_BIND": bind,
        }
        words = [*PYTHON, "ingress", "--port", str(self._alone_port)]
        self.alone = Process(
            "alone", lambda: words, folder / "alone.log", folder, {**clean_environment(), **SETTINGS, **alone}
        )
        self._alone_admin = f"http://{bind}"
        self._started: list[Process] = []

    def _process(self, name: str, command: Callable[[], list[str]]) -> Process:
        return Process(name, command, self.folder / f"{name}.log")

    def start(self) -> None:
        for process in (self.redis, self.primary, self.replica):
            self._start(process)
        urls = {"CALLBOX_REDIS_URL": self._redis.url, "CALLBOX_DATABASE_URL": self._postgres.url}
        options = ("--ingress", "1", "--workers", "1", "--no-flower")
        self.up = Running(self.folder, *options, environment={**SETTINGS, **urls}, sources=SOURCES)
        self._start(self.alone)
        self._postgres.prepare()
        self._start(self.postgres)
        wait_until(lambda: read_addresses(self.up.data), "the addresses of all processes", SECONDS)
        self._start_prometheus(read_addresses(self.up.data))
        self.up.wait_ready()
        wait_until(self.send_alone, "the ingress that waits for a replica", SECONDS)
        self.traffic = Traffic(self.up.url, dict(self.up.sources), {"fleet", "quiet"})
        self.traffic.start()
        wait_until(self.prometheus.sees_every_target, "Prometheus and its targets", SECONDS)
        self.copy()

    def _start(self, process: Process) -> None:
        process.start()
        self._started.append(process)

    def _start_prometheus(self, addresses: Mapping[str, str]) -> None:
        """Before its targets are there: it begins to ask them after 5 s only."""
        targets = {
            "callbox-ingress": [addresses["CALLBOX_ADMIN_URL"], self._alone_admin],
            "callbox-worker": [addresses["CALLBOX_WORKER_ADMIN_URL"]],
            "callbox-beat": [addresses["CALLBOX_BEAT_ADMIN_URL"]],
        }
        self.prometheus = Prometheus(self.folder, targets)
        self._start(self.prometheus.process)

    def stop(self) -> None:
        if hasattr(self, "traffic"):
            self.traffic.ended.set()
            self.traffic.join()
        if hasattr(self, "up"):
            self.up.kill()
        for process in self._started:
            process.end()

    # What faults do.

    def copy(self) -> None:
        """Copies what Redis has on its disk, as of now."""
        copytree(self.folder / "redis", self.folder / "copy")

    def restore(self) -> None:
        """Has Redis start with the copy, which lacks what came after it."""
        assert self.send("fleet") == 200
        self.redis.kill()
        rmtree(self.folder / "redis")
        copytree(self.folder / "copy", self.folder / "redis")
        self.redis.start()
        wait_until(lambda: answers(self._redis.url), "Redis", SECONDS)

    def client(self) -> redis.Redis:
        return inbox.connect(self._redis.url, 5.0)

    def set(self, name: str, value: str) -> None:
        """Has Redis use another setting."""
        with self.client() as client:
            client.config_set(name, value)

    def start_postgres(self) -> None:
        def is_there() -> bool:
            self.postgres.ensure()
            with suppress(psycopg.Error), psycopg.connect(self._postgres.url, connect_timeout=2):
                return True
            return False

        wait_until(is_there, "PostgreSQL", SECONDS)

    def signal_worker(self, number: signal.Signals) -> None:
        for pid in family(self.up.pids["worker-1"]):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def send(self, name: str, *, secrets: tuple[str, ...] | None = None) -> int:
        """A callback of a source, signed with these secrets; the status of its answer."""
        source = self.up.sources[name]
        return self._send(self.up.url, replace(source, secrets=secrets) if secrets else source)

    def send_alone(self) -> bool:
        """A callback to the ingress that waits for a replica; whether it was accepted."""
        return self._send(f"http://127.0.0.1:{self._alone_port}", self.up.sources["open"]) == 200

    def _send(self, url: str, source: Source) -> int:
        request: Request = simulator.request(source, simulator.event("mo", datetime.now(UTC), Random()))
        with Sender(url) as sender:
            return sender.send(request).status

    def send_garbage(self) -> None:
        """A callback that nobody understands."""
        assert http(f"{self.up.url}/callbacks/open", "POST", b"no JSON")[0] == 200

    def add_source(self) -> None:
        """Writes a source into callbox.toml that the ingress gets to know, and the workers do not."""
        path = self.folder / "callbox.toml"
        path.write_text(SOURCES + LATE)
        self.up.sources = config.load(path, self.up.environment, PROVIDERS).sources
        os.kill(self.up.pids["ingress-1"], signal.SIGKILL)
        wait_until(lambda: self.send("late") == 200, "the new source", SECONDS)
