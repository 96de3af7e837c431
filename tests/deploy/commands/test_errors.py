"""Where the errors of every command end."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import psycopg
import pytest
from click.testing import CliRunner, Result

from deploy.commands.errors import Commands, Failed, explain
from deploy.commands.main import main
from deploy.local.errors import CannotStart
from shared.config import ConfigError
from shared.errors import Unavailable
from shared.inbox import RedisUnavailable
from workers.database import TooMuch

CALLBOX = str(Path(sys.executable).with_name("callbox"))
NOT_RUNNING = "start `callbox up`, name its folder with --data, or set"
EXPECTED: list[tuple[Exception, int, str]] = [
    (Failed("no such thing"), 1, "callbox: no such thing\n"),
    (CannotStart("port 1 cannot be used"), 1, "callbox: port 1 cannot be used\n"),
    (ConfigError(["a: wrong", "b: wrong\x1b"]), 2, "a: wrong\nb: wrong\\x1b\n"),
    (
        RedisUnavailable("Redis does not answer"),
        1,
        f"callbox: Redis does not answer: {NOT_RUNNING} CALLBOX_REDIS_URL\n",
    ),
    (Unavailable("PostgreSQL is away"), 1, "callbox: PostgreSQL is away\n"),
    (psycopg.errors.UndefinedTable("x"), 1, "callbox: the database is not migrated: run `callbox migrate`\n"),
    (
        psycopg.errors.UndefinedColumn("x"),
        1,
        "callbox: the database is not migrated: run `callbox migrate` (SQLSTATE 42703)\n",
    ),
    *(
        (error, 1, "callbox: PostgreSQL gave up on this (SQLSTATE 57014): it took too long, or too much memory\n")
        for error in (TooMuch("SQLSTATE 57014"), psycopg.errors.QueryCanceled("canceling statement"))
    ),
    *(
        (error, 1, f"callbox: PostgreSQL does not answer (x): {NOT_RUNNING} CALLBOX_DATABASE_URL\n")
        for error in (psycopg.InterfaceError("x"), psycopg.InternalError("x"), psycopg.NotSupportedError("x"))
    ),
    (
        psycopg.errors.InsufficientPrivilege("permission denied for table callbacks"),
        1,
        "callbox: the role of CALLBOX_DATABASE_URL may not do this: `callbox check` has what it needs\n",
    ),
    (OSError(errno.ENOSPC, "full", "var/env"), 1, "callbox: var/env cannot be written: its disk is full\n"),
    (
        psycopg.OperationalError("connection refused\n\tIs the server running?"),
        1,
        f"callbox: PostgreSQL does not answer (connection refused): {NOT_RUNNING} CALLBOX_DATABASE_URL\n",
    ),
    (psycopg.ProgrammingError("invalid URI query parameter"), 2, "CALLBOX_DATABASE_URL: invalid URI query parameter\n"),
    (click.Abort(), 1, "callbox: interrupted\n"),
]


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every registered command that does something, with the words that call it."""
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from leaves(each, (*path, name))
    else:
        yield path, command


LEAVES = dict(leaves(main))


def run_raising(monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...], error: BaseException) -> Result:
    """Runs a command that does nothing but raise this, whatever it is given."""

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(LEAVES[path], "callback", fail)
    monkeypatch.setattr(LEAVES[path], "params", [])
    return CliRunner().invoke(main, path)


def test_these_are_the_commands() -> None:
    assert {" ".join(path) for path in LEAVES} == {
        *("up", "demo", "migrate", "check", "send", "remove-tests", "status", "resume", "show", "conflicts"),
        *("init", "reload", "doctor", "completion", "find", "tail", "top", "sql"),
        *("shards drain", "shards restore", "spool list", "spool adopt"),
        *(f"dead-letters {name}" for name in ("list", "show", "replay", "discard")),
        *(f"refused {name}" for name in ("list", "explain", "replay")),
    }


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_whatever_a_command_meets_ends_in_its_lines_and_its_code(
    monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...]
) -> None:
    for error, code, lines in EXPECTED:
        done = run_raising(monkeypatch, path, error)
        assert (done.exit_code, done.stderr, done.stdout) == (code, lines, ""), error


def test_ctrl_c_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run_raising(monkeypatch, ("status",), KeyboardInterrupt())
    assert (done.exit_code, done.stderr.strip()) == (1, "callbox: interrupted")


def test_what_is_not_expected_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run_raising(monkeypatch, ("status",), RuntimeError("a bug\x1b"))
    assert done.exit_code == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("RuntimeError: a bug\\x1b\n")


def test_a_new_command_goes_through_it_without_doing_anything_for_it() -> None:
    @click.group(cls=Commands)
    def program() -> None:
        pass

    @program.command()
    def new() -> None:
        raise Unavailable("it is away")

    done = CliRunner().invoke(program, ["new"])
    assert (done.exit_code, done.stderr) == (1, "callbox: it is away\n")


def test_a_wrong_usage_shows_the_usage_and_what_is_wrong() -> None:
    done = CliRunner().invoke(main, ["show", "no-id"])
    assert done.exit_code == 2
    assert done.stderr.startswith("Usage: callbox show [OPTIONS] ID\n")
    assert "no-id" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["completion"], "Missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish"),
        (["dead-letters", "show", "9" * 30], "is not in the range 1<=x<=9223372036854775807"),
        (["doctor", f"http://{'a' * 300}.example/"], "is not the address that providers call"),
        (["doctor", "http://127.0.0.1:port/"], "is not the address that providers call"),
    ],
)
def test_what_is_wrong_is_on_the_last_line(words: list[str], says: str) -> None:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert says in done.stderr.splitlines()[-1]


def test_a_full_disk_and_what_is_no_utf_8_are_one_line_too(database_url: str) -> None:
    environment = {**os.environ, "CALLBOX_DATABASE_URL": database_url}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([CALLBOX, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert (done.returncode, done.stderr) == (1, "callbox: the output cannot be written: its disk is full\n")
    done = subprocess.run([CALLBOX, "find", b"\xff"], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (2, "callbox: what was typed is not UTF-8\n")


def test_an_error_of_redis_is_not_taken_for_one_of_postgresql() -> None:
    assert explain(RedisUnavailable("x")).lines != explain(Unavailable("x")).lines
