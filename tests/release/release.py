"""Builds the wheel, installs it into an empty environment, and has it do its work there: in an empty folder, with an
empty environment, on real servers that belong to this one."""

import hashlib
import json
import os
import re
import shutil
import signal
import site
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.local import servers
from deploy.local.supervisor import die_with_parent
from shared import inbox
from tests.conftest import answers, wait_until

ROOT = Path(__file__).parents[2]
PACKAGES = ("deploy", "ingress", "shared", "workers")
LOCK = ROOT / "deploy" / "locks" / "runtime.txt"
COUNT = 20  # callbacks to each source
SECONDS = 120.0


class Failed(Exception):
    """The release does not do what it must: what was run, and what it said."""


def build(folder: Path, change: Callable[[Path], None] = lambda source: None) -> Path:
    """The wheel, built in the folder from what an image is built from too; `change` may alter the copy of it."""
    copy = folder / "source"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, copy / name, ignore=_without_one_installation)
    change(copy)
    program = f"from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})"
    run([sys.executable, "-c", program], copy, {"PATH": os.environ["PATH"]})
    shutil.rmtree(copy)
    (wheel,) = folder.glob("*.whl")
    return wheel


def _without_one_installation(folder: str, names: list[str]) -> set[str]:
    """What .dockerignore leaves out as well."""
    own = {"__pycache__", ".env", "secrets.env", "callbox.toml", "tls"}
    return own.intersection(names) if Path(folder).name == "docker" else {"__pycache__"}.intersection(names)


def install(wheel: Path, folder: Path, locked: bool = True) -> Path:
    """An environment with nothing but the locked versions and the wheel; the folder of its programs. Where they are not
    `locked`, all but the wheel is that of this environment: nothing is downloaded."""
    venv.create(folder)
    programs = folder / "bin"
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "--python"]
    pip += [str(programs / "python"), "install", "-q"]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    if locked:
        run([*pip, "--require-hashes", "--only-binary=:all:", "-r", str(LOCK)], folder, environment)
    else:
        (own,) = folder.glob("lib/*/site-packages")
        (own / "locked.pth").write_text("".join(f"{path}\n" for path in site.getsitepackages()))
    run([*pip, "--no-deps", "--no-index", str(wheel)], folder, environment)
    return programs


def try_it(programs: Path, folder: Path) -> dict[str, Any]:
    """Runs the installed release in this empty folder: takes callbacks of every provider, and stores them. What
    `callbox status` says at the end. Raises Failed."""
    (version,) = re.findall(r'(?m)^version = "(.+)"', (ROOT / "pyproject.toml").read_text())
    place = run([str(programs / "python"), "-c", "import deploy; print(*deploy.__path__)"], folder)
    example = (Path(place.strip()) / "docker" / "callbox.example.toml").read_text()
    (folder / "callbox.toml").write_text(example)
    callbox = str(programs / "callbox")
    if run([callbox, "--version"], folder) != f"callbox {version}\n":
        raise Failed(f"callbox --version is not {version}")
    with _servers(folder) as urls:
        secrets = dict.fromkeys(re.findall(r"\$\{(\w+)\}", example), "a-secret-that-is-long-enough")
        environment = {**urls, **secrets}
        with _up(callbox, folder, environment) as addresses:
            environment |= addresses
            run([callbox, "check"], folder, environment)
            sources = re.findall(r"(?m)^\[sources\.(\w+)\]", example)
            for source in sources:
                run([callbox, "send", source, "--count", str(COUNT)], folder, environment)
            status = _drained(callbox, folder, environment)
    if status["stored"] != COUNT * len(sources):
        raise Failed(f"not everything was stored: {status}")
    return status


def digest(wheel: Path) -> str:
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def run(words: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """What a program said. Its environment is only what is given. Raises Failed."""
    done = subprocess.run(words, cwd=folder, env=environment or {}, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise Failed(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


@contextmanager
def _servers(folder: Path) -> Iterator[dict[str, str]]:
    """Redis and PostgreSQL as in production: beside Callbox, not in its environment."""
    started = servers.Redis(folder / "redis", "pw"), servers.Postgres(folder / "postgres", "pw")
    started[1].prepare()
    with (folder / "servers.log").open("wb") as log:
        processes = [
            subprocess.Popen(server.command(), stdout=log, stderr=log, cwd="/", preexec_fn=die_with_parent)
            for server in started
        ]
    try:
        for server in started:
            wait_until(lambda url=server.url: answers(url), "a server", SECONDS)  # type: ignore[misc]
        yield {"CALLBOX_REDIS_URL": started[0].url, "CALLBOX_DATABASE_URL": started[1].url}
    finally:
        for process, end in zip(processes, (signal.SIGKILL, signal.SIGQUIT), strict=True):
            process.send_signal(end)
            process.wait()


@contextmanager
def _up(callbox: str, folder: Path, environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """`callbox up`; the addresses that it writes. Raises Failed unless it ends with 0 when it is asked to."""
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [callbox, "up", "--port", "0", "--no-flower"],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent,
        )
    try:
        said = folder / "up.log"
        wait_until(lambda: "ready http" in said.read_text() or process.poll() is not None, "ready", SECONDS)
        if process.poll() is not None:
            raise Failed(f"callbox up: exit code {process.returncode}\n{said.read_text()}")
        yield dict(line.split("=", 1) for line in (folder / "var" / "env").read_text().splitlines())
        process.send_signal(signal.SIGTERM)
        if process.wait(SECONDS):
            raise Failed(f"callbox up did not stop cleanly: exit code {process.returncode}\n{said.read_text()}")
    finally:
        process.kill()
        process.wait()


def _drained(callbox: str, folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    with inbox.connect(environment["CALLBOX_REDIS_URL"], 5.0) as shard:
        wait_until(lambda: not inbox.take_snapshot(shard).depth.entries, "an empty inbox", SECONDS)
    status: dict[str, Any] = json.loads(run([callbox, "status", "--json"], folder, environment))
    return status
