"""`callbox tail` and `callbox top` in a real terminal."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.conftest import wait_until
from tests.pipeline.conftest import CALLBOX, SECONDS, Running, callbox, clean_environment
from tests.terminal import TERMINALS, Terminal

Open = Callable[..., Terminal]


@pytest.fixture(params=TERMINALS, ids=lambda kind: kind.__name__)
def terminal(request: pytest.FixtureRequest, system: Running) -> Iterator[Open]:
    """Opens a terminal in which a command of Callbox runs."""
    opened: list[Terminal] = []

    def start(*words: str, columns: int = 80, lines: int = 24, **environment: str) -> Terminal:
        made: Terminal = request.param(
            [CALLBOX, *words], system.folder, {**clean_environment(), **environment}, columns, lines
        )
        opened.append(made)
        return made

    yield start
    for each in opened:
        each.close()


def wait_for(terminal: Terminal, text: str) -> str:
    wait_until(lambda: text in terminal.screen() or terminal.exit_code() is not None, f"{text} on the screen", SECONDS)
    shown = terminal.screen()
    assert text in shown, shown
    return shown


def wait_ended(terminal: Terminal) -> None:
    wait_until(lambda: terminal.exit_code() is not None, "the end of the command", SECONDS)
    assert terminal.exit_code() == 0, terminal.screen()


def test_top_shows_sources_and_parts_and_ends_with_q(system: Running, terminal: Open) -> None:
    system.send(system.request("open", "mo"))
    live = terminal("top", "--seconds", "0.3")
    shown = wait_for(live, "open")
    names = [line.split()[0] for line in shown.splitlines() if line.strip()]
    assert names[:2] == ["callbox", "inbox"]
    assert {"spool", "workers", "PostgreSQL", "Redis"} <= set(names)
    assert max(map(len, shown.splitlines())) <= 80
    assert len(shown.rstrip().splitlines()) <= 24
    live.press("q")
    wait_ended(live)


def test_top_counts_what_arrives_and_ends_with_ctrl_c(system: Running, terminal: Open) -> None:
    system.send(system.request("open", "mo"))
    live = terminal("top", "--seconds", "0.3", columns=160, lines=50)
    wait_for(live, "open")

    def is_counted() -> bool:
        system.send(*(system.request("open", "mo") for _ in range(5)))
        lines = [line.split() for line in live.screen().splitlines()]
        (found,) = [line for line in lines if line[:1] == ["open"]] or [["open", "0.0", "–"]]
        return "–" not in found[1:3] and float(found[1]) > 0

    wait_until(is_counted, "a rate and a p99", SECONDS)
    live.press("C-c")
    wait_ended(live)


def test_top_without_colours_shows_the_same(system: Running, terminal: Open) -> None:
    live = terminal("top", NO_COLOR="1")
    wait_for(live, "PostgreSQL  answers")
    live.press("q")
    wait_ended(live)


def test_top_goes_on_when_everything_is_away(system: Running, terminal: Open) -> None:
    away = {"CALLBOX_REDIS_URL": "redis://127.0.0.1:1/0", "CALLBOX_DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    live = terminal("top", "--ingress", "http://127.0.0.1:1", **away)
    shown = wait_for(live, "not known, Redis is away")
    assert "ingress     http://127.0.0.1:1 does not answer" in shown
    live.press("q")
    wait_ended(live)


def test_top_without_a_terminal_shows_one_page(system: Running) -> None:
    shown = system.command("top", "--seconds", "0.2").stdout
    assert shown.count("callbox top") == 1
    assert "\x1b" not in shown
    assert "is no URL" in system.command("top", "--ingress", "ftp://x", code=2).stderr


def test_tail_shows_what_is_committed_until_ctrl_c(system: Running, terminal: Open) -> None:
    live = terminal("tail", "open", columns=200)
    seen = ""

    def is_seen() -> bool:
        nonlocal seen
        system.send(system.request("open", "mo"))
        system.wait_drained()
        seen = live.screen()
        return "MO" in seen

    wait_until(is_seen, "an event", SECONDS)
    assert "characters" in seen
    live.press("C-c")
    wait_ended(live)


def test_tail_for_programs_has_each_event_once_and_masks_numbers(system: Running) -> None:
    words = [CALLBOX, "tail", "--json", "--last", "1000"]
    system.send(*(system.request("open", "mo") for _ in range(3)), system.request("support", "dr"))
    system.wait_drained()
    with subprocess.Popen(words, cwd=system.folder, stdout=subprocess.PIPE, env=clean_environment()) as command:
        assert command.stdout is not None
        sent = system.send(*(system.request("open", "mo") for _ in range(3)))
        left, rows = set(sent), []
        while left:
            rows.append(json.loads(command.stdout.readline()))
            left.discard(rows[-1]["callback_id"])
        command.send_signal(signal.SIGINT)
        assert command.wait(SECONDS) == 0
    assert len({(row["kind"], row["id"]) for row in rows}) == len(rows)
    ours = [row for row in rows if row["callback_id"] in sent]
    assert all("…" in row["sender"] and row["text"] is None for row in ours)
    revealed = system.query(f"SELECT sender FROM inbound_messages WHERE callback_id = '{sent[0]}'")[0]["sender"]
    assert revealed not in json.dumps(rows)


def test_tail_ends_when_nobody_reads_any_more(system: Running) -> None:
    system.send(system.request("open", "mo"))
    system.wait_drained()
    line = f"{CALLBOX} tail --last 1 | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=system.folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=clean_environment(),
    )
    assert (done.stdout.splitlines()[-1], done.stderr) == ("0", "")


def test_tail_goes_on_after_postgresql_was_away(system: Running) -> None:
    words = [CALLBOX, "tail", "open", "--json", "--last", "1"]
    system.send(system.request("open", "mo"))
    system.wait_drained()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, cwd=system.folder, text=True, env=clean_environment(), **pipes) as command:  # type: ignore[call-overload]
        assert command.stdout.readline()
        with psycopg.connect(system.addresses["CALLBOX_DATABASE_URL"], autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE query LIKE '%age(xmin)%' AND pid <> pg_backend_pid()"
            )
        assert "waiting for it" in command.stderr.readline()
        (id,) = system.send(system.request("open", "mo"))
        while json.loads(command.stdout.readline())["callback_id"] != id:
            pass
        command.send_signal(signal.SIGINT)
        assert command.wait(SECONDS) == 0
        assert command.stderr.read() == "callbox: PostgreSQL answers again\n"


def test_tail_shows_what_is_refused(system: Running) -> None:
    words = [CALLBOX, "tail", "fleet", "--refused", "--json", "--last", "1"]
    forged = system.request("fleet", "mo")
    with subprocess.Popen(
        words, cwd=system.folder, text=True, stdout=subprocess.PIPE, env=clean_environment()
    ) as command:
        assert command.stdout is not None
        answer = system.answers(type(forged)(method="POST", path=forged.path, body=b"{}"))[0]
        assert answer.status == 401
        row = json.loads(command.stdout.readline())
        assert (row["source"], "body" in row) == ("fleet", False)
        command.send_signal(signal.SIGINT)
        assert command.wait(SECONDS) == 0


def test_a_source_that_does_not_exist_is_a_wrong_usage(system: Running) -> None:
    assert "there is no source flet in callbox.toml, only" in system.command("tail", "flet", code=2).stderr


def test_tail_and_find_say_so_without_a_running_system(system: Running) -> None:
    for words in (["tail"], ["find", "4711"], ["tail", "--refused"]):
        nowhere = {"CALLBOX_REDIS_URL": "redis://127.0.0.1:1/0", "CALLBOX_DATABASE_URL": "postgresql://127.0.0.1:1/x"}
        done = callbox(*words, cwd=system.folder, **nowhere)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
