"""A Redis of a test's own, for what would harm the one that all share: another setting, another role, its end."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from deploy.local import servers
from deploy.local.supervisor import die_with_parent
from shared import inbox
from shared.inbox.locator import Place
from tests.conftest import answers, wait_until


@contextmanager
def own_redis(folder: Path, *settings: str) -> Iterator[inbox.Shard]:
    """With production's settings, and these."""
    server = servers.Redis(folder, "pw")
    with (folder / "redis.conf").open("a") as file:
        file.writelines(f"{setting}\n" for setting in settings)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(server.command(), stdout=log, stderr=log, preexec_fn=die_with_parent)
    try:
        wait_until(partial(answers, server.url), "redis")
        with inbox.connect(server.url, 5.0) as shard:
            yield shard
    finally:
        process.kill()
        process.wait()


def url_of(shard: inbox.Shard, host: str = "127.0.0.1", port: int | None = None) -> str:
    return f"redis://:pw@{host}:{port or place_of(shard).port}/0"


def place_of(shard: inbox.Shard) -> Place:
    return Place("127.0.0.1", shard.url.hosts[0][1])


def run(shard: inbox.Shard, *words: str) -> None:
    execute: Any = shard.execute_command
    execute(*words)


def demote(shard: inbox.Shard) -> None:
    run(shard, "REPLICAOF", "127.0.0.1", "1")


def promote(shard: inbox.Shard) -> None:
    run(shard, "REPLICAOF", "NO", "ONE")
