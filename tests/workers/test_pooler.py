"""PostgreSQL behind PgBouncer in transaction mode: nothing that a session keeps may be relied on, or left behind."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from deploy.local.servers import free_port
from deploy.local.supervisor import die_with_parent
from shared.events import Status
from tests.conftest import answers, wait_until
from tests.workers.conftest import Rows, message, parsed, report
from workers import demands, schema
from workers.connection import connect
from workers.database import Database
from workers.drain.run import Run
from workers.drain.store import Store
from workers.queries import Queries

PGBOUNCER = shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
OURS = ("enable_seqscan", "statement_timeout", "lock_timeout", "synchronous_commit", "TimeZone")


def pooled(url: str, folder: Path, size: int) -> tuple[str, "subprocess.Popen[bytes]"]:
    """The URL and the process of a pooler that has `size` server connections for all its clients."""
    server, port = urlsplit(url), free_port()
    name = server.path.removeprefix("/")
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n{name} = host=127.0.0.1 port={server.port} user={server.username} password={server.password}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = transaction\ndefault_pool_size = {size}\n"
    )
    command = [str(PGBOUNCER), str(config)]
    if os.geteuid() == 0:  # which it refuses
        nobody = pwd.getpwnam("nobody")
        config.chmod(0o644)
        for above in (folder, *folder.parents):
            if above.stat().st_uid == 0 and above != Path("/"):
                above.chmod(above.stat().st_mode | 0o011)
        identity = ["--reuid", str(nobody.pw_uid), "--regid", str(nobody.pw_gid), "--clear-groups"]
        command = ["setpriv", *identity, "--", *command]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", preexec_fn=die_with_parent)
    return f"postgresql://anyone@127.0.0.1:{port}/{name}", process


@pytest.fixture(params=[1])
def pooler(database_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    if PGBOUNCER is None:
        pytest.skip("PgBouncer is not installed")
    url, process = pooled(database_url, tmp_path, request.param)
    try:
        wait_until(partial(answers, url), "PgBouncer")
        yield url
    finally:
        process.terminate()
        process.wait()


def settings(connection: "psycopg.Connection[Any]") -> list[str]:
    return [str((connection.execute(f"SHOW {name}".encode()).fetchone() or [None])[0]) for name in OURS]


def test_batches_are_stored_and_nothing_leaks_to_another_client(pooler: str, rows: Rows) -> None:
    store = Store(Database(pooler, statement_seconds=7))

    class Idle:
        def renew(self, entries: object) -> None:
            pass

    run: Any = Run(Idle(), seconds=60)  # type: ignore[arg-type]
    with psycopg.connect(pooler, autocommit=True) as other:
        before = settings(other)
        for number in range(12):  # psycopg prepares what it has sent five times
            messages = [parsed(message(f"{number}-{item}")) for item in range(3)]
            batch = [*messages, parsed(report(str(number), Status.SENT))]
            with store.begin(batch) as pending:
                assert len(pending.finish(run) or []) == 4
            assert store.is_working()
            assert settings(other) == before
            for _ in range(6):
                other.execute("SELECT count(*) FROM callbacks").fetchone()
    store.database.close()
    assert len(rows("SELECT FROM callbacks")) == 48


def test_it_is_known_for_a_pooler_and_a_server_is_not(pooler: str, database_url: str) -> None:
    with connect(pooler) as behind, connect(database_url) as direct:
        assert behind.prepare_threshold is None
        assert direct.prepare_threshold is not None


@pytest.mark.parametrize("pooler", [2], indirect=True, ids=["two: a migration holds its lock on another"])
def test_commands_and_migrations_work_through_it(pooler: str) -> None:
    assert schema.migrate(pooler) == []
    for _ in range(8):
        with Queries(pooler) as queries:
            assert queries.dead_letters(limit=1) == []
    with connect(pooler) as connection:
        assert demands.examine(connection).unmet == []
