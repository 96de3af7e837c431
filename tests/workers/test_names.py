"""The names of workers: unique wherever they run, derived alike by every process of one place, and swept."""

import os
import socket
import subprocess
import sys
from typing import Any

import pytest

from shared.inbox import Consumer, Done, Shard, audit_group
from shared.inbox.group import consumers
from shared.outcomes import Outcome
from tests.keys import AUDITED, INBOX, MARKS
from workers import names

SHOW = "from workers.names import consumer_name, consumer_prefix; print(consumer_prefix(), consumer_name(7))"


def shown() -> list[str]:
    """The prefix of this place, and the name of a child of worker 7, as another process finds them."""
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split()


def test_every_process_of_a_place_finds_the_same_prefix_and_no_two_workers_the_same_name() -> None:
    (prefix, first), (same, second) = shown(), shown()
    assert prefix == same == names.consumer_prefix()
    assert prefix.startswith(f"{socket.gethostname()}-")
    assert first.startswith(f"{prefix}7-")
    assert second.startswith(f"{prefix}7-")
    assert first.rpartition("-")[2] != second.rpartition("-")[2], "equal process ids would make equal names"


def test_all_children_of_a_worker_have_its_random_part_and_an_id_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = names.consumer_name(7)
    assert mine == names.consumer_name(7)
    monkeypatch.setattr(os, "getpid", lambda: 0)
    sibling = names.consumer_name(7)
    assert sibling != mine
    assert sibling.rpartition("-")[2] == mine.rpartition("-")[2]


@pytest.mark.parametrize("part", ["_boot", "_process_namespace", "_start_of_first_process"])
def test_another_host_or_container_with_this_hostname_is_another_place(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = names.consumer_prefix(7)
    assert getattr(names, part)(), "this system has none"
    monkeypatch.setattr(names, part, lambda: "another")
    names._place.cache_clear()
    try:
        assert names.consumer_prefix(7) != here
    finally:
        monkeypatch.undo()
        names._place.cache_clear()


def test_a_system_that_shows_nothing_of_itself_has_a_prefix_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert names._text("/nonexistent/boot_id") == ""
    monkeypatch.setattr(names, "_text", lambda path: "")
    assert names._start_of_first_process() == ""


def test_names_of_dead_workers_are_swept_once_another_has_their_entries(
    client: Shard, put: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What workers leave that are killed again and again: a name and a mark each, and the last one an entry."""
    put(1)
    for number in range(20):
        Consumer(client, f"killed-{number}").claim(1, 0.001)
    (owner,) = [consumer.name for consumer in consumers(client) if consumer.pending]
    seconds: Any = client.time()[0]
    client.hset(MARKS, mapping=dict.fromkeys(client.hkeys(MARKS), (seconds - 3600) * 1000))
    monkeypatch.setattr("shared.inbox.audit.FORGET_SECONDS", -1)
    audit_group(client, 1)
    assert [(consumer.name, consumer.pending) for consumer in consumers(client)] == [(owner, 1)]
    assert client.hkeys(MARKS) == []

    other = Consumer(client, "other")
    (entry,) = other.take(other.abandoned(10, 0), 0)
    client.delete(AUDITED)
    audit_group(client, 1)
    assert [consumer.name for consumer in consumers(client)] == ["other"], "its entry was reclaimed"
    assert other.acknowledge([Done(entry, Outcome.STORED)]) == 1
    other.leave()
    assert (consumers(client), client.xlen(INBOX)) == ([], 0)
