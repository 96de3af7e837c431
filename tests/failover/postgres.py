"""PostgreSQL: alone, or a primary with a standby that has every commit before its writer hears of it."""

import asyncio
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from deploy.local import servers
from tests.faults.process import PATIENCE_SECONDS, Process
from tests.faults.system import until

PASSWORD = "pw"
STANDBY = "standby"  # the role by which a standby receives, and its replication slot
_HBA = "".join(f"host {database} {STANDBY} 127.0.0.1/32 scram-sha-256\n" for database in ("all", "replication"))
_PAIR = "pair.conf"  # read by postgresql.conf: what changes while it runs
_IPC_RMID = 0


class Database(Process):
    """One PostgreSQL. It keeps the time of every commit."""

    def __init__(self, number: int, folder: Path) -> None:
        super().__init__(f"postgres {number}", self._words, folder / f"postgres-{number}.log")
        self._data = folder / f"postgres-{number}"
        self.server = servers.Postgres(self._data, PASSWORD)

    def prepare(self) -> None:
        """Makes a new, empty one, which a standby may follow."""
        self.server.prepare(
            f"CREATE ROLE {STANDBY} REPLICATION LOGIN PASSWORD '{PASSWORD}'", f"GRANT pg_monitor TO {STANDBY}"
        )
        with (self._data / "pg_hba.conf").open("a") as file:
            file.write(_HBA)
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(f"include_if_exists '{_PAIR}'\n")

    def copy(self, primary: "Database") -> None:
        """Becomes a standby of that one, whatever it was. Raises CalledProcessError."""
        self._forget_memory()
        shutil.rmtree(self._data, ignore_errors=True)
        self._data.mkdir(0o700)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._data, nobody.pw_uid, nobody.pw_gid)
        self._do("pg_basebackup", "-d", primary.as_standby, "-R", "-C", "-S", STANDBY, "-c", "fast", "--no-sync")

    def promote(self) -> None:
        """Raises CalledProcessError."""
        self.wait_for_standby(False)
        self._do("pg_ctl", "promote")

    def wait_for_standby(self, does: bool) -> None:
        """Whether a commit waits until a standby has it on its disk."""
        path = self._data / _PAIR
        path.write_text(f"synchronous_standby_names = '{'*' if does else ''}'\n")
        path.chmod(0o644)
        os.kill(self.pid, signal.SIGHUP)

    @property
    def as_standby(self) -> str:
        """Where a standby finds it."""
        return f"host=127.0.0.1 port={self.server.port} user={STANDBY} password={PASSWORD} dbname=postgres"

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of an answer; none while it does not answer."""
        with suppress(psycopg.Error), psycopg.connect(self.as_standby, connect_timeout=2) as connection:
            return connection.execute(sql.encode()).fetchall()
        return []

    def is_primary(self) -> bool:
        return self.ask("SELECT pg_is_in_recovery()") == [(False,)]

    def has_standby(self) -> bool:
        """Whether commits wait for a standby that is there."""
        return self.ask("SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'") == [("sync",)]

    def end(self) -> None:
        """At once, and without its shared memory, which it would leave behind after SIGKILL."""
        if self.is_running:
            self.signal(signal.SIGCONT)
            os.kill(self.pid, signal.SIGQUIT)
            self.wait()
        self._forget_memory()

    def _words(self) -> list[str]:
        return [*self.server.command(), "-c", "track_commit_timestamp=on"]

    def _do(self, program: str, *options: str) -> None:
        words = self.server.program(program, *options, "-D", str(self._data))
        with self._log.open("ab") as log:
            subprocess.run(words, stdout=log, stderr=log, cwd="/", timeout=PATIENCE_SECONDS, check=True)

    def _forget_memory(self) -> None:
        """Removes the shared memory that it could not give back when it was killed."""
        with suppress(OSError, IndexError):
            *_, memory = (self._data / "postmaster.pid").read_text().splitlines()[6].split()
            ctypes.CDLL(None).shmctl(int(memory), _IPC_RMID, None)


class Postgres:
    """One, or a pair."""

    def __init__(self, folder: Path, with_standby: bool) -> None:
        self.databases = [Database(number, folder) for number in (1, 2)[: 1 + with_standby]]

    @property
    def processes(self) -> Sequence[Process]:
        return self.databases

    @property
    def url(self) -> str:
        """As Callbox gets it; of several, it finds the one that takes writes by itself."""
        hosts = ",".join(f"127.0.0.1:{database.server.port}" for database in self.databases)
        return f"postgresql://callbox:{PASSWORD}@{hosts}/callbox"

    @property
    def reading_url(self) -> str:
        """For others."""
        return f"{self.url}?target_session_attrs=read-write"

    @property
    def environment(self) -> Mapping[str, str]:
        return {"CALLBOX_DATABASE_URL": self.url}

    async def start(self) -> None:
        first, *others = self.databases
        first.prepare()
        first.start()
        await until(first.is_primary, first.name)
        for standby in others:
            await self.follow(standby, first)
        await until(self.is_whole, "PostgreSQL with its standby")

    async def roles(self) -> tuple[Database, Database]:
        """The primary, and the other one."""
        primary = await asyncio.to_thread(self.primary)
        assert primary is not None, "nobody is the primary"
        return primary, next(database for database in self.databases if database is not primary)

    async def follow(self, standby: Database, primary: Database) -> None:
        """Makes the one a standby of the other, and has commits wait for it once it is there."""
        await asyncio.to_thread(standby.copy, primary)
        standby.start()
        primary.wait_for_standby(True)

    async def stop(self) -> None:
        for database in self.databases:
            database.end()

    def primary(self) -> Database | None:
        return next((database for database in self.databases if database.is_primary()), None)

    def is_whole(self) -> bool:
        primary = self.primary()
        return primary is not None and (len(self.databases) == 1 or primary.has_standby())
