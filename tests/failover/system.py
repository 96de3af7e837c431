"""Callbox over one topology: two ingresses with addresses and spools of their own, two workers and beat."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from shared import config
from shared.providers import PROVIDERS
from shared.source import Source
from tests.failover.network import Address, free_address
from tests.failover.part import Part
from tests.failover.postgres import Postgres
from tests.failover.watch import Watch
from tests.faults.process import Process
from tests.faults.stored import Stored, read_stored
from tests.faults.system import until
from tests.pipeline.conftest import SOURCES, callbox, clean_environment, http

HOSTS = ("127.0.0.2", "127.0.0.3")  # of the ingresses
WORKERS = 2
PROCESSES = ("ingress-1", "ingress-2", "worker-1", "worker-2", "beat")
FRESH_SECONDS = 2.0
TABLES = "callbacks, inbound_messages, delivery_reports, deliveries, dead_letters"
_REPEATS = re.compile(r"^callbox_repeats_total\{.*\} (\S+)$", re.MULTILINE)


class System:
    """All of it, in one folder."""

    def __init__(
        self, folder: Path, redis: Sequence[Part], postgres: Postgres, settings: Mapping[str, str], is_broken: bool
    ) -> None:
        """`is_broken`: the ingresses do not wait for replicas, whatever they are asked to (sitecustomize.py)."""
        self.folder = folder
        self.redis = redis
        self.postgres = postgres
        self._settings = settings
        self._broken = {"PYTHONPATH": str(Path(__file__).parent)} if is_broken else {}
        self.addresses = [free_address(host) for host in HOSTS]
        spools = [folder / f"spool-{number}" for number in range(1, len(HOSTS) + 1)]
        self.watches = [Watch(spool) for spool in spools]
        self.ingresses = [
            self._process(
                f"ingress-{number}",
                *("-m", "ingress", "--host", address.host, "--port", f"{address.port}"),
                CALLBOX_SPOOL_DIR=str(spool),
                **self._broken,
            )
            for number, (address, spool) in enumerate(zip(self.addresses, spools, strict=True), 1)
        ]
        self.workers = [
            self._process(
                f"worker-{number}",
                *("-m", "workers", "worker", "--concurrency", "1", "--hostname", f"worker-{number}@failover"),
            )
            for number in range(1, WORKERS + 1)
        ]
        self._figures = free_address("127.0.0.1")  # where beat shows what is in Redis and PostgreSQL
        self.beat = self._process("beat", "-m", "workers", "beat", CALLBOX_ADMIN_BIND=str(self._figures))

    @property
    def parts(self) -> Sequence[Part]:
        return [*self.redis, self.postgres]

    @property
    def processes(self) -> Sequence[Process]:
        """Those of Callbox."""
        return [*self.ingresses, *self.workers, self.beat]

    @property
    def urls(self) -> tuple[str, str]:
        one, two = (f"http://{address}" for address in self.addresses)
        return one, two

    async def start(self) -> None:
        """Raises TimeoutError, and CalledProcessError when a command of Callbox's fails."""
        (self.folder / "callbox.toml").write_text(SOURCES)
        self.sources = self._read_sources()
        for part in self.parts:
            await part.start()
        (await asyncio.to_thread(self._command, "migrate")).check_returncode()
        for process in self.processes:
            process.start()
        for address in self.addresses:
            await until(partial(self._takes_to_redis, address), f"the ingress at {address}")

    async def stop(self) -> None:
        for process in self.processes:
            process.end()
        for part in self.parts:
            await part.stop()

    def status(self) -> dict[str, Any]:
        """What `callbox status --json` says; nothing while it does not know."""
        done = self._command("status", "--json")
        found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
        return found

    def status_in_words(self) -> str:
        return self._command("status").stdout

    def is_drained(self) -> bool:
        """Whether nothing waits any more, and the ledger adds up."""
        status = self.status()
        return bool(status) and not any(status[name] for name in ("pending", "spooled", "difference"))

    def is_fresh(self) -> bool:
        """Whether what arrives is stored at once."""
        query = "SELECT max(received_at) > now() - make_interval(secs => %s) FROM callbacks"
        with suppress(psycopg.Error), psycopg.connect(self.postgres.reading_url) as connection:
            return connection.execute(query, [FRESH_SECONDS]).fetchone() == (True,)
        return False

    def repeats(self) -> int:
        """How many callbacks were appended again, as the ledger has it."""
        with suppress(OSError):
            _, body, _ = http(f"http://{self._figures}/metrics")
            return round(sum(map(float, _REPEATS.findall(body.decode()))))
        return 0

    def stored(self) -> Stored:
        """Raises psycopg.Error."""
        return read_stored(self.postgres.reading_url)

    def commits(self) -> list[float]:
        """When callbacks were committed, in seconds since 1970. Raises psycopg.Error."""
        query = "SELECT DISTINCT extract(epoch FROM pg_xact_commit_timestamp(xmin)) FROM callbacks"
        with psycopg.connect(self.postgres.reading_url) as connection:
            return sorted(float(at) for (at,) in connection.execute(query))

    def forget(self) -> None:
        """Empties the tables. Raises psycopg.Error."""
        with psycopg.connect(self.postgres.reading_url) as connection:
            connection.execute(f"TRUNCATE {TABLES} RESTART IDENTITY".encode())

    def process(self, name: str) -> Process:
        return next(process for process in self.processes if process.name == name)

    def ends(self) -> list[str]:
        """What there is to say of processes that have ended by themselves."""
        ended = [process for process in self.processes if not process.is_running]
        return [f"{process.name} has ended: {process.last_words()}" for process in ended]

    @property
    def _environment(self) -> dict[str, str]:
        given = {name: value for part in self.parts for name, value in part.environment.items()}
        return {
            **clean_environment(),
            **self._settings,
            **given,
        }

    def _process(self, name: str, *words: str, **environment: str) -> Process:
        log = self.folder / f"{name}.log"
        return Process(name, lambda: [sys.executable, *words], log, self.folder, {**self._environment, **environment})

    def _command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return callbox(*words, cwd=self.folder, **self._environment)

    def _read_sources(self) -> dict[str, Source]:
        found = config.load(self.folder / "callbox.toml", clean_environment(), PROVIDERS).sources
        return {name: source for name, source in found.items() if not source.unsigned}

    def _takes_to_redis(self, address: Address) -> bool:
        with suppress(OSError):
            return bool(json.loads(http(f"http://{address}/readyz")[1])["redis"] == "ok")
        return False
