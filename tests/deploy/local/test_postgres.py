"""The PostgreSQL of `callbox up`: what its role may do, and what its processes may."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import psycopg
import pytest

from deploy.local.errors import CannotStart
from deploy.local.servers import Postgres
from deploy.local.supervisor import die_with_parent
from tests.conftest import STARTING_SECONDS, answers, wait_until
from tests.pipeline.conftest import family

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
DAC_READ_SEARCH = 1 << 2  # capability(7)


@contextmanager
def running(server: Postgres) -> Iterator[int]:
    """The server's process id."""
    process = subprocess.Popen(
        server.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent
    )
    try:
        wait_until(lambda: answers(server.url), "PostgreSQL")
        yield process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(STARTING_SECONDS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("role") / "postgres", "pw")
    server.prepare()
    with running(server):
        yield server


@pytest.fixture
def passable() -> Iterator[Path]:
    """A folder that others may pass through, and not list."""
    folder = Path(mkdtemp())
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def test_the_role_owns_its_database_and_may_nothing_else(server: Postgres) -> None:
    with psycopg.connect(server.url) as connection:
        cursor = connection.execute(
            "SELECT rolname, rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,"
            " (SELECT count(*) FROM pg_auth_members WHERE member = pg_roles.oid) AS member_of"
            " FROM pg_roles WHERE rolname = current_user"
        )
        assert cursor.fetchone() == ("callbox", True, False, False, False, False, False, 0)
        database = connection.execute(
            "SELECT datname, pg_get_userbyid(datdba), pg_encoding_to_char(encoding)"
            " FROM pg_database WHERE datname = current_database()"
        )
        assert database.fetchone() == ("callbox", "callbox", "UTF8")
        others = connection.execute("SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname <> 'callbox'")
        assert others.fetchall() == [("postgres",)]


@pytest.mark.parametrize(
    "statement",
    [
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "CREATE TEMPORARY TABLE t (x text); COPY t FROM PROGRAM 'true'",
        "CREATE TEMPORARY TABLE t (x text); COPY t FROM '/etc/passwd'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT pg_ls_dir('/')",
        "ALTER SYSTEM SET archive_command = 'true'",
        "CREATE ROLE other",
        "SET ROLE postgres",
        "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'libc', 'getpid'",
    ],
)
def test_the_role_reaches_nothing_outside_its_database(server: Postgres, statement: str) -> None:
    refused = pytest.raises(psycopg.errors.InsufficientPrivilege)
    with psycopg.connect(server.url, autocommit=True) as connection, refused:
        connection.execute(statement.encode())


@pytest.mark.parametrize("password", ["", "pw"])
def test_the_superuser_cannot_log_in(server: Postgres, password: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
        psycopg.connect(host="127.0.0.1", port=server.port, user="postgres", password=password, dbname="postgres")


def test_a_wrong_password_does_not_do(server: Postgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.url, password="wrong")


@AS_ROOT
def test_under_root_it_has_no_capability_where_it_needs_none(passable: Path) -> None:
    server = Postgres(passable / "postgres", "pw")
    server.prepare()
    with running(server) as pid:
        programs = Path(f"/proc/{pid}/exe").resolve()
        is_open = all(above.stat().st_mode & 0o001 for above in programs.parents)
        assert capabilities(pid) == {0 if is_open else DAC_READ_SEARCH}
        assert others_may_nothing(passable / "postgres")


@AS_ROOT
def test_under_root_it_may_pass_through_what_is_closed_and_nothing_more(passable: Path) -> None:
    closed = passable / "closed"
    closed.mkdir(mode=0o700)
    server = Postgres(closed / "postgres", "pw")
    server.prepare()
    with running(server) as pid:
        assert capabilities(pid) == {DAC_READ_SEARCH}


def capabilities(pid: int) -> set[int]:
    """All that the processes of the server have or could get; none of them is root's, nor may become it."""
    found = set()
    processes = family(pid)
    assert len(processes) > 3
    for one in processes:
        try:
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):  # a connection that ended
            continue
        status = dict(line.split(":\t", 1) for line in lines)
        assert "0" not in status["Uid"].split()
        assert "0" not in status["Gid"].split()
        assert status["Groups"].strip() == ""
        assert status["NoNewPrivs"] == "1"
        found |= {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")}
    return found


def others_may_nothing(folder: Path) -> bool:
    return folder.stat().st_mode & 0o077 == 0


def test_a_second_start_goes_on_with_the_data(tmp_path: Path) -> None:
    for rows in (1, 2):
        server = Postgres(tmp_path / "postgres", "pw")
        server.prepare()
        with running(server), psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept (x int)")
            connection.execute("INSERT INTO kept VALUES (1)")
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (rows,)


def test_what_the_superuser_is_to_run_is_run_and_a_mistake_in_it_is_reported(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres", "pw")
    with pytest.raises(CannotStart, match=r'cannot prepare .*: .*role "nobody" does not exist'):
        server.prepare("ALTER ROLE nobody CREATEDB")
    server.prepare("ALTER ROLE callbox CREATEDB")
    with running(server), psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE another")


def test_a_first_start_interrupted_anywhere_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Postgres._do
    for interrupted_after in (1, 2):
        calls: list[str] = []

        def do(
            server: Postgres, *words: str, calls: list[str] = calls, limit: int = interrupted_after, **how: str
        ) -> None:
            run(server, *words, **how)
            calls.append(words[0])
            if len(calls) == limit:
                raise KeyboardInterrupt

        monkeypatch.setattr(Postgres, "_do", do)
        with pytest.raises(KeyboardInterrupt):
            Postgres(tmp_path / "postgres", "pw").prepare()
        assert not (tmp_path / "postgres").exists()
    monkeypatch.undo()
    server = Postgres(tmp_path / "postgres", "pw")
    server.prepare()
    with running(server):
        assert [path.name for path in tmp_path.iterdir()] == ["postgres"]
