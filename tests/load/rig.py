"""Everything that is measured, running side by side on one Redis and one PostgreSQL; what is not being measured sleeps.

Callbox runs as its users run it, by `callbox up`, three times: `one` (one ingress, one child), `two` of each, and
`grown`, whose tables hold millions of rows. The contenders run as theirs do. Whoever is not measured is stopped by
SIGSTOP until then: an idle process would cost little, but not nothing.
"""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import psutil
import psycopg
import redis
import redis.asyncio

from deploy.local import servers
from deploy.local.supervisor import die_with_parent
from shared import inbox
from tests.conftest import answers, wait_until
from tests.faults.system import Server
from tests.keys import INBOX, LEDGER
from tests.load import contenders, payloads
from tests.pipeline.conftest import Running, clean_environment, family

HERE = Path(__file__).parents[2]
POLL_SECONDS = 0.005
DRAIN_SECONDS = 900.0  # for the largest backlog, on a slow machine
SERVE = ["--no-access-log", "--no-server-header", "--log-level", "warning"]
WORK = ["--concurrency", "1", "--without-gossip", "--without-mingle", "--loglevel", "WARNING"]
TABLES = "callbacks, inbound_messages, delivery_reports, deliveries, dead_letters"


class Contender:
    """A process of a contender's, and what belongs to it."""

    def __init__(self, folder: Path, name: str, words: list[str], environment: dict[str, str]) -> None:
        with (folder / f"{name}.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=HERE,
                env={**clean_environment(), **environment},
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )

    def stop(self) -> None:
        signal_all([self.process.pid], SIGCONT)
        self.process.terminate()
        self.process.wait(30)


class Callbox:
    """One `callbox up`, and its end of Redis and PostgreSQL."""

    def __init__(
        self, folder: Path, redis_url: str, database_url: str, ingresses: int, workers: int, is_forked: bool
    ) -> None:
        folder.mkdir()
        self.redis_url = redis_url
        self.database_url = database_url
        self.up = Running(
            folder,
            *("--ingress", f"{ingresses}", "--workers", f"{workers}", "--no-flower"),
            environment={
                "CALLBOX_REDIS_URL": redis_url,
                "CALLBOX_DATABASE_URL": database_url,
                "CALLBOX_STALL_SECONDS": "3600",  # whoever sleeps here is not stalled
            },
            sources=payloads.SOURCES,
            is_forked=is_forked,
        ).wait_ready()
        self.sources = self.up.sources
        self.client = inbox.connect(redis_url, 60.0)

    @property
    def worker(self) -> set[int]:
        return family(self.up.pids["worker-1"])

    @property
    def children(self) -> set[int]:
        return self.worker - {self.up.pids["worker-1"]}

    @property
    def ingresses(self) -> set[int]:
        return {pid for name, pid in self.up.pids.items() if name.startswith("ingress")}

    @property
    def everything(self) -> set[int]:
        return family(self.up.process.pid)

    def pending(self) -> int:
        return int(self.client.xlen(INBOX))

    def wait_drained(self) -> None:
        wait(lambda: not self.pending(), "an empty inbox")

    def fill(self, groups: Iterable[list[tuple[str, bytes]]]) -> int:
        """Puts callbacks into the inbox as an ingress does; how many."""

        async def append() -> int:
            appender = inbox.Appender.connect(self.redis_url, 10**7, 60.0)
            count = 0
            for group in groups:
                await appender.append(group)
                count += len(group)
            await appender.close()
            return count

        appended = asyncio.run(append())
        inbox.ring(self.client, payloads.now())
        return appended

    def forget(self) -> None:
        """Empties the inbox and the tables."""
        self.client.delete(INBOX, LEDGER)
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(f"TRUNCATE {TABLES}".encode())

    def count(self, table: str = "callbacks") -> int:
        return _count(self.database_url, table)

    def stop(self) -> None:
        self.up.kill()
        self.client.close()


class Rig:
    """Starts everything in a folder; `with` stops it."""

    def __init__(self, folder: Path, is_forked: bool = False) -> None:
        """`is_forked`: see Running."""
        self._folder = folder
        self._is_forked = is_forked
        self.redis = Server("redis", servers.Redis(folder / "redis", "pw"), folder / "redis.log")
        postgres = servers.Postgres(folder / "postgres", "pw")
        # PostgreSQL itself knows when a row was committed.
        postgres.prepare("ALTER ROLE callbox CREATEDB", "ALTER SYSTEM SET track_commit_timestamp = on")
        self.postgres = Server("postgres", postgres, folder / "postgres.log")

    def __enter__(self) -> "Rig":
        self._asleep: set[int] = set()
        self._stops: list[Callable[[], None]] = []
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for stop in reversed(self._stops):
            stop()

    def _start(self) -> None:
        for server in (self.redis, self.postgres):
            server.start()
            self._stops.append(server.stop)
        wait_until(lambda: answers(self.postgres.server.url), "PostgreSQL")
        with psycopg.connect(self.postgres.server.url, autocommit=True) as connection:
            for name in ("one", "two", "grown", "usual"):
                connection.execute(f"CREATE DATABASE {name}".encode())
        self.one = self._callbox("one", 0, 1, 1)
        self.two = self._callbox("two", 1, 2, 2)
        self.grown = self._callbox("grown", 2, 0, 1)
        self._start_contenders()

    def _callbox(self, name: str, number: int, ingresses: int, workers: int) -> Callbox:
        urls = self._redis(number), self._database(name)
        system = Callbox(self._folder / name, *urls, ingresses, workers, self._is_forked)
        self._stops.append(system.stop)
        return system

    def _start_contenders(self) -> None:
        self._usual_redis_url, self._usual_database_url = self._redis(3), self._database("usual")
        with psycopg.connect(self._usual_database_url) as connection:
            connection.execute(contenders.TABLE.encode())
        contenders.celery.conf.broker_url = self._usual_redis_url
        self._stops.append(contenders.celery.close)
        environment = {
            "BENCH_REDIS_URL": self._usual_redis_url,
            "BENCH_DATABASE_URL": self._usual_database_url,
            "BENCH_SECRET": self.one.sources["support"].secrets[0],
        }
        self._contenders: dict[str, Contender] = {}
        self.urls: dict[str, str] = {}
        for name in ("echo", "floor", "usual"):
            port = servers.free_port()
            serve = ["uvicorn", f"tests.load.contenders:{name}", "--port", f"{port}", *SERVE]
            self.urls[name] = f"http://127.0.0.1:{port}"
            self._contenders[name] = self._contender(
                name, serve if name != "echo" else ["tests.load.echo", f"{port}"], environment
            )
            wait_until(partial(_listens, port), f"the contender {name}")
        self._contenders["usual worker"] = self._contender(
            "usual-worker", ["celery", "--quiet", "-A", "tests.load.contenders:celery", "worker", *WORK], environment
        )
        self._usual = redis.Redis.from_url(self._usual_redis_url)
        self._stops.append(self._usual.close)
        contenders.record.delay('{"msg_id":"first"}')
        wait_until(lambda: self.usual_count() == 1, "the usual worker")

    def _contender(self, name: str, words: list[str], environment: dict[str, str]) -> Contender:
        contender = Contender(self._folder, name, words, environment)
        self._stops.append(contender.stop)
        return contender

    @contextmanager
    def awake(self, *pids: set[int]) -> Iterator[None]:
        """Only these processes run, and the servers."""
        asleep = self.all - set().union(*pids)
        signal_all(asleep, SIGSTOP)
        try:
            yield
        finally:
            signal_all(asleep, SIGCONT)

    @property
    def all(self) -> set[int]:
        processes = [system.everything for system in (self.one, self.two, self.grown)]
        return set().union(*processes, *(family(contender.process.pid) for contender in self._contenders.values()))

    def contender(self, name: str) -> set[int]:
        return family(self._contenders[name].process.pid)

    def wait_usual(self, count: int) -> None:
        """Until nothing waits for the usual worker and `count` rows are stored."""
        wait(lambda: not self._usual_pending() and self.usual_count() == count, f"{count} rows of the usual worker")

    def _usual_pending(self) -> int:
        return int(self._usual.llen("celery")) + int(self._usual.hlen("unacked"))

    def usual_count(self) -> int:
        return _count(self._usual_database_url, "usual")

    def forget_usual(self) -> None:
        self._usual.delete("celery", "unacked", "unacked_index")
        with psycopg.connect(self._usual_database_url, autocommit=True) as connection:
            connection.execute("TRUNCATE usual")

    def _redis(self, number: int) -> str:
        return self.redis.server.url.rpartition("/")[0] + f"/{number}"

    def _database(self, name: str) -> str:
        return self.postgres.server.url.rpartition("/")[0] + f"/{name}"


def wait(true: Callable[[], object], what: str) -> None:
    """Waits for it, and looks often: what is waited for is being measured."""
    wait_until(true, what, DRAIN_SECONDS, POLL_SECONDS)


def signal_all(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def resident_bytes(pids: Iterable[int]) -> int:
    """Of the largest of the processes."""
    return max(psutil.Process(pid).memory_info().rss for pid in pids)


def cpu_seconds(pids: Iterable[int]) -> float:
    """Of all of them, since they began."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def _count(url: str, table: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
        assert row is not None
        return int(row[0])
