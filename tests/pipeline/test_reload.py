"""callbox.toml changes while callbacks come: nothing is refused that must be taken, and nothing is lost."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import psycopg

from deploy.local import simulator
from deploy.local.sender import Answer, Sender
from shared.source import Source
from tests.conftest import wait_until
from tests.pipeline.conftest import SECONDS, Running, Start

STEADY = '[sources.steady]\nprovider = "emnify"\nsecrets = ["a-secret-that-stays-as-it-is"]\n'
OLD, NEW = "the-old-secret-of-a-source", "the-new-secret-of-a-source"
TRAFFIC = 50  # callbacks of each sender between two changes


def table(name: str, *secrets: str) -> str:
    listed = ", ".join(f'"{secret}"' for secret in secrets)
    return f'[sources.{name}]\nprovider = "emnify"\nsecrets = [{listed}]\n'


def source(name: str, *secrets: str) -> Source:
    return Source(name, "emnify", secrets=secrets)


class Honest(threading.Thread):
    """A provider that sends one callback after another, and signs with the secret that it has at the moment."""

    def __init__(self, up: Running, sender: Source) -> None:
        super().__init__(daemon=True)
        self._up = up
        self.sender = sender
        self.answers: list[Answer] = []
        self._ends = threading.Event()
        self._dice = Random(sender.name)

    def run(self) -> None:
        with Sender(self._up.url) as sender:
            while not self._ends.is_set():
                (request,) = simulator.requests(self.sender, ["mo"], 1, self._dice)
                self.answers.append(sender.send(request))

    def more(self) -> None:
        """Returns once it has sent some more."""
        count = len(self.answers) + TRAFFIC
        wait_until(lambda: len(self.answers) >= count, "more traffic", SECONDS)

    def end(self) -> None:
        self._ends.set()
        self.join()


@contextmanager
def honest(up: Running, *senders: Source) -> Iterator[list[Honest]]:
    threads = [Honest(up, sender) for sender in senders]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        for thread in threads:
            thread.end()


def write(up: Running, *tables: str) -> None:
    (up.folder / "callbox.toml").write_text("".join(tables))


def stored(up: Running) -> set[str]:
    return {str(row["id"]) for row in up.query("SELECT id FROM callbacks WHERE outcome = 'stored'")}


def test_sources_and_secrets_change_under_load_and_none_is_refused_or_lost(start: Start) -> None:
    up = start("--no-flower", "--ingress", "2", "--workers", "2", sources=STEADY + table("rotated", OLD))
    with honest(up, source("steady", "a-secret-that-stays-as-it-is"), source("rotated", OLD)) as (steady, rotated):
        for turn in range(3):
            old, new = (OLD, NEW) if turn % 2 == 0 else (NEW, OLD)
            for secrets in ((new, old), (new,)):
                write(up, STEADY, table("rotated", *secrets), table(f"added-{turn}", NEW))
                assert "2 ingresses and 1 worker have the configuration" in up.command("reload").stdout
                with honest(up, source(f"added-{turn}", NEW)) as (added,):
                    steady.more()
                    rotated.sender = source("rotated", new)
                    rotated.more()
                    added.more()
                assert {answer.status for answer in added.answers} == {200}
    answers = [*steady.answers, *rotated.answers]
    assert {answer.status for answer in answers} == {200}
    assert len(answers) >= 2 * 6 * TRAFFIC
    gone = up.answers(*simulator.requests(source("added-0", NEW), ["mo"], 1, Random()))
    assert gone[0].status == 404
    up.wait_drained()
    assert {answer.callback_id for answer in answers} <= stored(up)
    assert not up.query("SELECT FROM dead_letters")
    assert "Traceback" not in up.logs()


def test_what_waits_of_a_source_that_is_gone_is_kept_until_it_is_back(start: Start) -> None:
    up = start("--no-flower", "--workers", "2", sources=STEADY + table("gone", OLD), CALLBOX_BATCH_COUNT="5")
    requests = list(simulator.requests(source("gone", OLD), ["mo"], 200, Random()))
    with psycopg.connect(up.addresses["CALLBOX_DATABASE_URL"]) as connection:
        connection.execute("LOCK TABLE callbacks IN ACCESS EXCLUSIVE MODE")  # the drains wait
        ids = set(up.send(*requests))
        write(up, STEADY)
        up.command("reload")
        assert {answer.status for answer in up.answers(*requests[:5])} == {404}
    wait_until(lambda: '"event": "held"' in up.logs(), "the hold", SECONDS)
    assert not up.query("SELECT FROM dead_letters")
    assert len(stored(up)) < len(ids)
    write(up, STEADY, table("gone", OLD))
    up.command("reload")
    up.send(requests[0])
    wait_until(lambda: ids <= stored(up), "everything stored", SECONDS)
    assert not up.query("SELECT FROM dead_letters")


def test_a_file_with_a_mistake_changes_nothing_and_says_so(start: Start) -> None:
    up = start("--no-flower", sources=STEADY)
    before = up.pids
    write(up, STEADY, '[sources.broken]\nprovider = "nobody"\nx = 1\n')
    refused = up.command("reload", code=2).stderr
    assert "sources.broken.provider: 'nobody' is not one of" in refused
    up.process.send_signal(1)
    wait_until(lambda: "not reloaded, nothing changed" in up.output, "the mistake", SECONDS)
    assert "sources.broken.provider: 'nobody' is not one of" in up.output
    up.send(up.request("steady", "mo"))
    assert up.pids == before
    write(up, STEADY)
    assert "1 ingress and 1 worker have" in up.command("reload").stdout
    assert up.pids == before


def test_a_secret_in_a_file_beside_it_is_read_again(start: Start, tmp_path: Path) -> None:
    env_file, secret_file = tmp_path / ".env", tmp_path / "secret"
    env_file.write_text(f"OF_ENV={OLD}\n")
    secret_file.write_text(f"{OLD}\n")
    up = start(
        "--no-flower", "--workers", "1", sources=table("env", "${OF_ENV}") + table("file", f"file:{secret_file}")
    )
    for secret in (OLD, NEW):
        env_file.write_text(f"OF_ENV={secret}\n")
        secret_file.write_text(f"{secret}\n")
        up.command("reload")
        for name in ("env", "file"):
            up.send(*simulator.requests(source(name, secret), ["mo"], 2, Random()))
    assert OLD not in up.output + up.logs()
    assert NEW not in up.output + up.logs()
