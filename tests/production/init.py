"""The first process of a host of these tests, in the place of systemd: it runs what units say, as the user that they
name, with the environment, the credentials and the folders that they describe. `systemctl` on the host asks it.

It knows the keys that decide whether a process starts, not those that restrict it: tests/deploy/systemd has systemd
itself read the units. It is run by itself, from outside of the repository's packages.
"""

import grp
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

SOCKET = "/run/systemctl"
FOLDERS = (Path("/etc/systemd/system"), Path("/lib/systemd/system"))
LOGS = Path("/var/log/units")
SECONDS = 90.0  # for a service to start, or to stop
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Unit = dict[str, list[str]]  # key → its values, in the order of the files


class Failed(Exception):
    """What systemctl says, and exits with 1."""


def read_unit(name: str) -> Unit:
    """A unit with its drop-ins; %i is its instance."""
    stem, dot, kind = name.rpartition(".")
    prefix, at, instance = stem.partition("@")
    template = f"{prefix}{at}{dot}{kind}"
    files = [folder / each for each in (name, template) for folder in FOLDERS]
    try:
        found = [next(path for path in files if path.exists())]
    except StopIteration:
        raise Failed(f"Unit {name} could not be found.") from None
    words = prefix.split("-")
    families = ["-".join([*words[:count], ""]) + f".{kind}.d" for count in range(1, len(words))]
    for each in (*families, f"{template}.d", f"{name}.d"):
        found += [path for folder in FOLDERS for path in sorted((folder / each).glob("*.conf"))]
    unit: Unit = {}
    for line in (line for path in found for line in path.read_text().replace("\\\n", " ").splitlines()):
        key, equals, value = line.partition("=")
        if equals and not line.startswith(("#", ";", "[")):
            unit[key] = [*unit.get(key, []), value.strip().replace("%i", instance)] if value else []
    return unit


class Service:
    """One unit, and its main process while it runs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.unit: Unit = {}
        self.main: subprocess.Popen[bytes] | None = None
        self.is_wanted = False

    @property
    def is_active(self) -> bool:
        if self.main is not None:
            return self.main.poll() is None
        return self.is_wanted and (self._one("Type") != "forking" or self._pid_exists())

    def start(self) -> None:
        if self.is_active:
            return
        self.unit = read_unit(self.name)
        self.is_wanted = True
        environment = self._environment()
        for command in self.unit.get("ExecStartPre", []):
            self._run(command, environment)
        kind = self._one("Type")
        if kind in ("oneshot", "forking"):
            for command in self.unit.get("ExecStart", []):
                self._run(command, environment)
            self.is_wanted = kind == "forking" or self._one("RemainAfterExit") == "yes"
        else:
            self._launch(environment, waits=kind == "notify")

    def stop(self) -> None:
        if self.is_active:
            for command in self.unit.get("ExecStop", []):
                self._run(command, self._environment())
        self.is_wanted = False
        if self.main is not None and self.main.poll() is None:
            self.main.send_signal(signal.SIGTERM)
            try:
                self.main.wait(float(self._one("TimeoutStopSec") or SECONDS))
            except subprocess.TimeoutExpired:
                self.main.kill()
                self.main.wait()
        self.main = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def try_restart(self) -> None:
        if self.is_active:
            self.restart()

    def reload(self) -> None:
        if not self.is_active or "ExecReload" not in self.unit:
            raise Failed(f"Job type reload is not applicable for unit {self.name}.")
        for command in self.unit["ExecReload"]:
            self._run(command, self._environment())

    def watch(self) -> None:
        """Starts it again when it ended by itself."""
        if self.main is None or not self.is_wanted or self.main.poll() is None or self._one("Restart") != "always":
            return
        if str(self.main.returncode) not in self._one("RestartPreventExitStatus").split():
            self._launch(self._environment(), waits=False)

    def _launch(self, environment: dict[str, str], waits: bool) -> None:
        (command,) = self.unit["ExecStart"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            address = f"/run/notify/{self.name}"
            Path(address).parent.mkdir(exist_ok=True)
            Path(address).unlink(missing_ok=True)
            notified.bind(address)
            Path(address).chmod(0o666)
            self.main = self._popen(command, {**environment, "NOTIFY_SOCKET": address})
            notified.settimeout(0.2)
            ends = time.monotonic() + SECONDS
            while waits and self.main.poll() is None:
                if time.monotonic() > ends:
                    raise Failed(f"Job for {self.name} timed out.")
                try:
                    waits = b"READY=1" not in notified.recv(4096)
                except TimeoutError:
                    continue
        if self.main.poll() is not None:
            raise Failed(f"{self.name} ended with {self.main.returncode}:\n{self._log.read_text()[-2000:]}")

    def _run(self, command: str, environment: dict[str, str]) -> None:
        pid = self.main.pid if self.main else self._pid()
        command = command.replace("$MAINPID", str(pid))
        code = self._popen(command, environment).wait(SECONDS)
        if code and not command.startswith("-"):
            raise Failed(f"{self.name}: {command} failed with {code}:\n{self._log.read_text()[-2000:]}")

    def _popen(self, command: str, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
        user = pwd.getpwnam(self._one("User") or "root")
        group = grp.getgrnam(self._one("Group")).gr_gid if self._one("Group") else user.pw_gid
        with self._log.open("ab") as log:
            return subprocess.Popen(
                shlex.split(command.lstrip("-+!@")),
                env={**environment, "USER": user.pw_name, "HOME": user.pw_dir},
                cwd=self._one("WorkingDirectory") or "/",
                user=user.pw_uid,
                group=group,
                extra_groups=os.getgrouplist(user.pw_name, group),
                umask=int(self._one("UMask") or "022", 8),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        """Also makes the folders that the unit names."""
        user = self._one("User") or "root"
        for key, above in (("StateDirectory", "/var/lib"), ("RuntimeDirectory", "/run"), ("LogsDirectory", "/var/log")):
            for name in self._one(key).split():
                folder = Path(above, name)
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(int(self._one(f"{key}Mode") or "755", 8))
                shutil.chown(folder, user)
        environment = {"PATH": PATH, "LANG": "C.UTF-8"}
        for line in self.unit.get("Environment", []):
            environment |= dict(word.split("=", 1) for word in shlex.split(line))
        for path in self.unit.get("EnvironmentFile", []):
            if Path(path.lstrip("-")).exists() or not path.startswith("-"):
                lines = Path(path.lstrip("-")).read_text().splitlines()
                environment |= dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        if "LoadCredential" in self.unit:
            environment["CREDENTIALS_DIRECTORY"] = str(self._load_credentials(user))
        return environment

    def _load_credentials(self, user: str) -> Path:
        folder = Path("/run/credentials", self.name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, _, place in (value.partition(":") for value in self.unit["LoadCredential"]):
            path = Path(place)
            if not path.exists():
                raise Failed(f"{self.name}: Failed to set up credentials: {path} does not exist")
            for each in path.iterdir() if path.is_dir() else [path]:
                copy = folder / (f"{name}_{each.name}" if path.is_dir() else name)
                copy.write_bytes(each.read_bytes())
                copy.chmod(0o400)
                shutil.chown(copy, user)
        shutil.chown(folder, user)
        folder.chmod(0o500)
        return folder

    def _one(self, key: str) -> str:
        return (self.unit.get(key) or [""])[-1]

    def _pid(self) -> int:
        try:
            return int(Path(self._one("PIDFile") or "/nonexistent").read_text())
        except (OSError, ValueError):
            return 0

    def _pid_exists(self) -> bool:
        return not self._one("PIDFile") or Path(f"/proc/{self._pid()}").exists()

    @property
    def _log(self) -> Path:
        LOGS.mkdir(exist_ok=True)
        return LOGS / self.name


class Manager:
    """All units of this host; one verb at a time."""

    def __init__(self) -> None:
        self.services: dict[str, Service] = {}
        self.lock = threading.Lock()

    def do(self, verb: str, *words: str) -> str:
        names = [name for word in words if not word.startswith("-") for name in self._expand(word)]
        verbs: dict[str, Callable[[Service], None]] = {
            "start": Service.start,
            "stop": Service.stop,
            "restart": Service.restart,
            "try-restart": Service.try_restart,
            "reload": Service.reload,
            "is-active": _demand_active,
        }
        if verb == "daemon-reload":
            return ""
        if verb in ("enable", "disable"):
            for name in names:
                read_unit(name)
            if "--now" not in words:
                return ""
            verb = "start" if verb == "enable" else "stop"
        for name in names:
            verbs[verb](self.services.setdefault(name, Service(name)))
        return "".join(f"{name}: done\n" for name in names)

    def watch(self) -> None:
        while True:
            time.sleep(0.5)
            with self.lock:
                for service in self.services.values():
                    try:
                        service.watch()
                    except Failed:
                        traceback.print_exc()

    def _expand(self, word: str) -> Iterator[str]:
        """The units that a word means: Debian's PostgreSQL is one for each cluster, and a target is what is part of
        it."""
        name = word if word.endswith((".service", ".target")) else f"{word}.service"
        if name == "postgresql.service":
            for cluster in sorted(Path("/etc/postgresql").glob("*/*")):
                yield f"postgresql@{cluster.parent.name}-{cluster.name}.service"
        elif name.endswith(".target"):
            read_unit(name)
            yield from (each for each, service in self.services.items() if name in service.unit.get("PartOf", []))
        else:
            yield name


def _demand_active(service: Service) -> None:
    if not service.is_active:
        raise Failed(f"{service.name} is not active")


def serve() -> None:
    manager = Manager()
    threading.Thread(target=manager.watch, daemon=True).start()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(SOCKET)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rw") as file, manager.lock:
                try:
                    answer = "0\n" + manager.do(*shlex.split(file.readline()))
                except Failed as error:
                    answer = f"1\n{error}\n"
                except Exception:
                    answer = f"1\n{traceback.format_exc()}"
                file.write(answer)


def ask(words: list[str]) -> int:
    with socket.socket(socket.AF_UNIX) as client, client.makefile("rw") as file:
        client.connect(SOCKET)
        file.write(shlex.join(words) + "\n")
        file.flush()
        code, _, text = file.read().partition("\n")
    print(text, end="")
    return int(code)


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(ask(sys.argv[1:]))
    serve()
