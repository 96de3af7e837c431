"""Whether a worker counts as stalled, and what a worker does that starts on a full Redis: as processes of their own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shared import inbox
from shared.inbox import Consumer, Shard
from shared.inbox.keys import GROUP
from shared.settings import Settings
from tests.keys import INBOX
from tests.workers.conftest import Rows
from workers import health, names
from workers.names import consumer_name, consumer_prefix

OLD_SECONDS = 100
SETTINGS = Settings(stall_seconds=20, statement_seconds=1)


def ask(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    own = {name: value for name, value in os.environ.items() if not name.startswith("CALLBOX_")}
    return subprocess.run([sys.executable, *words], env=own | environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def waiting(client: Shard) -> None:
    """One callback waits, for long, and a worker of this host asked for something just before."""
    seconds: Any = client.time()[0]
    client.xgroup_create(INBOX, GROUP, id="0", mkstream=True)
    Consumer(client, consumer_name(1)).claim(1, 0.01)
    client.xadd(INBOX, {"s": "fleet", "c": b""}, id=f"{(seconds - OLD_SECONDS) * 1000}-0")


def test_a_worker_that_was_active_is_not_stalled_and_one_that_did_not_is(client: Shard, waiting: None) -> None:
    assert health.stalled(inbox.Inbox([client], client), consumer_prefix(1), SETTINGS, OLD_SECONDS) is None
    assert "no drain was active for 100 s" in str(
        health.stalled(inbox.Inbox([client], client), consumer_prefix(3), SETTINGS, OLD_SECONDS)
    )
    assert health.stalled(inbox.Inbox([client], client), consumer_prefix(3), SETTINGS, 1) is None, (
        "it has only just started"
    )


def test_a_worker_of_another_place_with_this_hostname_hides_no_stall(
    client: Shard, waiting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = inbox.Inbox([client], client)
    assert health.stalled(found, consumer_prefix(), SETTINGS, OLD_SECONDS) is None
    monkeypatch.setattr(names, "_place", lambda: "elsewhere")
    assert health.stalled(found, consumer_prefix(), SETTINGS, OLD_SECONDS)


def test_no_worker_is_stalled_while_nothing_waits(client: Shard) -> None:
    assert health.stalled(inbox.Inbox([client], client), "no-worker", SETTINGS, OLD_SECONDS) is None


def test_the_liveness_check_has_an_exit_code(client: Shard, redis_url: str, waiting: None) -> None:
    assert ask("-m", "workers.health", CALLBOX_REDIS_URL=redis_url).returncode == 0
    Consumer(client, consumer_name(1)).leave()
    if health._up_seconds() > SETTINGS.stall_seconds:
        done = ask("-m", "workers.health", CALLBOX_REDIS_URL=redis_url)
        assert (done.returncode, "while callbacks wait" in done.stderr) == (1, True)
    assert ask("-m", "workers.health", CALLBOX_REDIS_URL="redis://127.0.0.1:1/0").returncode == 0


def test_a_worker_that_starts_on_a_full_redis_makes_room_first(
    client: Shard, redis_url: str, database_url: str, rows: Rows, put: Any, tmp_path: Path
) -> None:
    (tmp_path / "callbox.toml").write_text('[sources.fleet]\nprovider = "emnify"\nunsigned = true\n')
    put(20)
    client.xgroup_create(INBOX, GROUP, id="0")
    client.config_set("maxmemory", 1)
    try:
        done = ask(
            *("-c", "from workers import app; app._read_configuration()"),
            CALLBOX_REDIS_URL=redis_url,
            CALLBOX_DATABASE_URL=database_url,
            CALLBOX_CONFIG=str(tmp_path / "callbox.toml"),
        )
    finally:
        client.config_set("maxmemory", 0)
    assert done.returncode == 0, done.stderr
    assert client.xlen(INBOX) == 0
    assert len(rows("SELECT FROM callbacks")) == 20
