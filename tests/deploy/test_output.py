"""What commands write to the terminal, when a stranger wrote what they show."""

import ast
import json
import os
import unicodedata
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from click.testing import CliRunner, Result

import deploy
from deploy import output
from deploy.commands.main import main
from deploy.local import demo, sender
from shared import config, inbox
from shared.callback import Callback, new_id, pack
from shared.providers import PROVIDERS
from shared.settings import Settings
from tests.keys import INBOX, LEDGER, ODDITIES
from workers import queries
from workers.database import Database
from workers.drain.drainer import Drainer
from workers.drain.store import Store

ATTACK = "\x1b]0;t\x07\x1b[2J\x7f\x9b31m\u202e\u2066\u200f\u2028\ufeff\U000e0041"
SPELLED = r"\x1b]0;t\x07\x1b[2J\x7f\x9b31m\u202e\u2066\u200f\u2028\ufeff\U000e0041"
IN_JSON = r"\u001b]0;t\u0007\u001b[2J\u007f\u009b31m\u202e\u2066\u200f\u2028\ufeff\udb40\udc41"
FORGED = "  status          delivered"
TEXT = f"{ATTACK}\n{FORGED}\r\n  | {FORGED}"
READABLE = "👨\u200d👩\u200d👧 ❤\ufe0f שלום e\u0301"
DRAWN = "\u200c\u200d"


def is_safe(output: str) -> bool:
    """By Unicode's categories, whatever the module under test thinks of a character."""
    bad = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return not [char for char in output if unicodedata.category(char) in bad and char not in DRAWN + "\n"]


class Stored(NamedTuple):
    message: str  # ids of callbacks
    dead: str
    dead_letter: str  # id of the dead letter


@pytest.fixture
def stored(folder: Path, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Stored:
    """An authentic sender wrote whatever it liked, everywhere, and said one thing twice, differently."""
    (folder / "callbox.toml").write_text('[sources.open]\nprovider = "emnify"\nunsigned = true\n')
    monkeypatch.setenv("CALLBOX_DATABASE_URL", database_url)
    monkeypatch.setenv("CALLBOX_REDIS_URL", redis_url)
    message = '{"id": "7%s", "organisation": {"id": 1}, "payload": "%s", "source_address": "%s", "more": "%s"}'
    bodies = [message % (ATTACK, TEXT + said, ATTACK, TEXT) for said in (READABLE, "another")]
    ids = []
    with inbox.connect(redis_url, 5.0) as client:
        for body in (*bodies, f"{{{TEXT}"):
            now = datetime.now(UTC)
            callback = Callback(
                id=new_id(now),
                source="open",
                provider="emnify",
                received_at=now,
                method="POST",
                query=f"a={ATTACK}",
                headers={"user-agent": f"curl\nx-forged: yes{ATTACK}"},
                body=body.encode(),
            )
            client.xadd(INBOX, {"s": "open", "c": pack(callback)})
            client.hincrby(LEDGER, "open:appended", 1)
            ids.append(str(callback.id))
        database = Database(database_url, statement_seconds=10)
        settings = Settings(linger_seconds=0.01)
        sources = config.load(None, {}, PROVIDERS).sources
        drainer = Drainer(client, "one", lambda: None, Store(database), sources, settings)
        drainer.run()
        drainer.close()
        database.close()
        client.hincrby(ODDITIES, f"open:{TEXT}", 1)
        inbox.Holds(client).hold("open", inbox.Hold(TEXT, 0.0))
    with psycopg.connect(database_url) as connection:
        change = "UPDATE dead_letters SET reason = %s, detail = %s, created_at = created_at RETURNING id"
        (dead_letter,) = connection.execute(change, (TEXT.strip(), TEXT)).fetchall()
    return Stored(ids[0], ids[2], str(dead_letter[0]))


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words, color=True)  # without, click takes escape sequences out for a test


Words = Callable[[Stored], list[str]]


@pytest.mark.parametrize(
    "words",
    [
        lambda stored: ["show", stored.message],
        lambda stored: ["show", stored.message, "--reveal"],
        lambda stored: ["find", stored.message, "--reveal"],
        lambda stored: ["show", stored.dead],
        lambda stored: ["dead-letters", "show", stored.dead_letter],
        lambda stored: ["dead-letters", "list"],
        lambda stored: ["dead-letters", "replay", "--all", "--dry"],
        lambda stored: ["dead-letters", "discard", "--all", "--dry"],
        lambda stored: ["conflicts"],
        lambda stored: ["status"],
    ],
)
def test_a_command_for_people_shows_the_attack_and_is_not_moved_by_it(stored: Stored, words: Words) -> None:
    done = run(*words(stored))
    assert (done.exit_code, done.stderr) == (0, "")
    assert r"\x1b]0;t\x07" in done.stdout
    assert is_safe(done.stdout)
    assert FORGED not in done.stdout.splitlines()
    assert not [line for line in done.stdout.splitlines() if line.startswith(("x-forged", FORGED))]


@pytest.mark.parametrize(
    "words",
    [
        lambda stored: ["show", stored.message],
        lambda stored: ["show", stored.message, "--reveal"],
        lambda stored: ["find", stored.message, "--reveal"],
        lambda stored: ["dead-letters", "show", stored.dead_letter],
        lambda stored: ["dead-letters", "list"],
        lambda stored: ["dead-letters", "replay", "--all", "--dry"],
        lambda stored: ["conflicts"],
        lambda stored: ["status"],
    ],
)
def test_json_has_the_attack_as_a_value_and_only_in_escapes(stored: Stored, words: Words) -> None:
    done = run(*words(stored), "--json")
    assert done.exit_code == 0
    assert IN_JSON in done.stdout
    assert is_safe(done.stdout)
    assert any(ATTACK in text for text in texts(json.loads(done.stdout)))


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from texts([*value, *value.values()])
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


def test_show_spells_every_value_and_begins_each_line_of_the_body_with_a_bar(stored: Stored) -> None:
    lines = run("show", stored.message, "--reveal").stdout.splitlines()
    escaped = rf"{SPELLED}\n{FORGED}\r\n  | {FORGED}"
    assert f"POST /callbacks/open?a={SPELLED}" in lines
    assert rf"user-agent: curl\nx-forged: yes{SPELLED}" in lines
    assert f"  text            {escaped}{READABLE}" in lines
    assert f"  sender          {SPELLED}" in lines
    assert f"  message_id      7{SPELLED}" in lines
    assert rf"  | {FORGED}\r" in lines
    body = [line for line in lines if line.startswith("  | ")]
    assert len(body) == 2 * 2 + 1


def test_errors_keep_what_they_quote_on_their_line_and_harmless(stored: Stored, folder: Path) -> None:
    (folder / "bad.toml").write_text('[sources."a\\u001b[2J\\nb"]\nprovider = "emnify"\n"k\\u009b\\u202e" = 1\n')
    said = ATTACK + "\nError: forged"
    cases = [
        (["show", said], 2),
        ([said], 2),
        ([f"--{said}"], 2),
        (["show", f"--{said}"], 2),
        (["status", "--json", said], 2),
        (["dead-letters", "list", "--state", said], 2),
        (["dead-letters", "list", "--since", said], 2),
        (["send", said], 2),
        (["resume", said], 1),
        (["check", "--config", said], 2),
        (["check", "--config", "bad.toml"], 2),
    ]
    for words, code in cases:
        done = run(*words)
        assert (done.exit_code, done.stdout) == (code, ""), words
        assert r"\x1b" in done.stderr, words
        assert is_safe(done.stderr), words
        assert not [line for line in done.stderr.splitlines() if "forged" in line and line.startswith("Error: forged")]


def test_an_error_that_nobody_foresaw_is_shown_the_same_way(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(f"row {ATTACK}")

    monkeypatch.setattr(queries.Queries, "callback", fail)
    done = run("show", stored.message)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Traceback")
    assert done.stderr.splitlines()[-1] == f"RuntimeError: row {SPELLED}"
    assert is_safe(done.stderr)


@pytest.mark.parametrize("words", [[], ["dead-letters"], ["--help"], ["show", "--help"], ["--version"]])
def test_help_is_help(words: list[str]) -> None:
    done = run(*words)
    assert (done.stdout or done.stderr).startswith(("Usage: callbox", "callbox "))
    assert done.exit_code == (0 if words and words[-1].startswith("--") else 2)


def test_the_demonstration_uses_the_same_table(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sender.Sender, "send", lambda *_: sender.Answer(200, "id", 0.1))
    path = demo.example_config(Path("var"))
    addresses = {"CALLBOX_URL": "http://127.0.0.1:1", "CALLBOX_ADMIN_URL": "http://127.0.0.1:2"}
    demo.present(config.load(path, {}, PROVIDERS), Path("var"), {**os.environ, **addresses})
    said = capsys.readouterr().out
    assert r"\x1b]0;t\x07\x1b[2J" in said
    assert is_safe(said)
    assert "\n# emnify\ncurl " in said
    assert "\nmetrics    http://127.0.0.1:2/metrics   (of the ingress)\n" in said


def test_lines_and_labels_are_made_harmless_wherever_they_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    output.write(TEXT, READABLE)
    output.write_error(TEXT)
    said = capsys.readouterr()
    escaped = rf"{SPELLED}\n{FORGED}\r\n  | {FORGED}"
    assert said == (f"{escaped}\n{READABLE}\n", f"{escaped}\n")


def test_a_bar_is_shown_on_a_terminal_only_and_its_label_is_harmless(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for is_terminal in (False, True):
        if is_terminal:
            monkeypatch.setenv("FORCE_COLOR", "1")
            monkeypatch.setenv("COLUMNS", "300")
        with output.progress(f"[red]{TEXT}", output.LONG_RUN) as advance:
            advance()
        shown = capsys.readouterr()
        assert shown.out == "", "a pipe gets the answer and nothing else"
        assert (rf"[red]{SPELLED}\n{FORGED}" in shown.err) == is_terminal
        assert (f"1/{output.LONG_RUN}" in shown.err) == is_terminal
        assert ATTACK not in shown.err


MODULES = sorted(
    file for file in Path(deploy.__file__).parent.rglob("*.py") if file.parent.name != "locks"
)  # those are programs of their own
WRITERS = {"echo", "secho", "echo_via_pager", "progressbar", "prompt", "confirm", "pause", "edit", "clear", "print_exc"}


def writes(file: Path) -> list[str]:
    """What in this file may write: print, click's functions, rich's consoles, the standard streams, an exit's text."""
    found: list[str] = []
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Name(id="print" | "input" | "SystemExit" as name):
                found.append(name)
            case ast.Attribute(value=ast.Name(id="click" | "traceback"), attr=name) if name in WRITERS:
                found.append(name)
            case ast.Attribute(value=ast.Name(id="sys"), attr=name) if "std" in name:
                found.append(name)
            case ast.ImportFrom(module="click" | "sys" | "builtins" | "rich" | "rich.console", names=names):
                found += [alias.name for alias in names]
    return found


# What each may name. `tail` and `top` ask what their output is, and the page of `top` is drawn by rich from tables of
# `deploy.table` and lines without unsafe characters.
NAMED = {
    "output.py": ["Console", "confirm", "echo", "echo", "echo", "prompt", "stderr", "stdin", "stdout", "stdout"],
    "tail.py": ["stdout", "stdout"],
    "top.py": ["RenderableType", "stdout"],
    "page.py": ["Group", "RenderableType"],
    "screen.py": ["Console", "RenderableType", "stdin", "stdin", "stdin"],
}


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.name)
def test_only_one_module_writes_to_the_terminal(file: Path) -> None:
    assert sorted(writes(file)) == NAMED.get(file.name, [])
