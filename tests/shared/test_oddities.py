"""The counts of what was odd, on a real server: no source can use up the room of another one."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from shared import inbox
from shared.inbox.consumer import ODDITIES_NAMED, ODDITY_KINDS, OTHER_ODDITIES
from tests.keys import INBOX, KINDS, ODDITIES

LINGER_SECONDS = 0.01


@pytest.fixture
def client(redis_url: str) -> Iterator[inbox.Shard]:
    with inbox.connect(redis_url, 5.0) as client:
        yield client


def settle(client: inbox.Shard, *callbacks: tuple[str, Sequence[str]]) -> None:
    """Callbacks of a source with their oddities arrive, and are acknowledged in one step, sent twice."""
    for source, _ in callbacks:
        client.xadd(INBOX, {"s": source, "c": b""})
    worker = inbox.Consumer(client, "one")
    entries = worker.claim(len(callbacks), LINGER_SECONDS)
    settled = [inbox.Done(entry, "stored", odd) for entry, (_, odd) in zip(entries, callbacks, strict=True)]
    assert (worker.acknowledge(settled), worker.acknowledge(settled)) == (len(callbacks), 0)


def phrases(first: int, count: int) -> list[str]:
    return [f"undocumented field {number:04}" for number in range(first, first + count)]


def oddities(client: inbox.Shard) -> dict[str, dict[str, int]]:
    return {source: dict(counts) for source, counts in inbox.take_snapshot(client).oddities.items()}


def test_an_oddity_is_counted_by_source_and_phrase(client: inbox.Shard) -> None:
    settle(client, ("a", ["repaired", "unknown: status"]), ("b", []), ("a", ["repaired"]))
    assert oddities(client) == {"a": {"repaired": 2, "unknown: status": 1}}


def test_a_source_has_so_many_kinds_and_one_word_for_the_others(client: inbox.Shard) -> None:
    sent = phrases(0, ODDITY_KINDS + 30)
    settle(client, *(("a", [phrase]) for phrase in sent))
    counted = oddities(client)["a"]
    assert (len(counted), counted[OTHER_ODDITIES], sum(counted.values())) == (ODDITY_KINDS + 1, 30, len(sent))
    known = next(iter(counted.keys() - {OTHER_ODDITIES}))
    settle(client, ("a", [known]), ("a", ["new"]))
    assert oddities(client)["a"] == {**counted, known: 2, OTHER_ODDITIES: 31}


def test_a_source_that_used_up_its_room_takes_none_from_another(client: inbox.Shard) -> None:
    for first in range(0, 2000, 20):
        settle(client, ("greedy", phrases(first, 20)))
    settle(client, ("modest", ["unknown status"]), ("greedy", ["unknown status"]))
    counted = oddities(client)
    assert counted["modest"] == {"unknown status": 1}
    assert (len(counted["greedy"]), sum(counted["greedy"].values())) == (ODDITY_KINDS + 1, 2001)


def test_one_callback_names_a_few_of_its_oddities_and_counts_the_others(client: inbox.Shard) -> None:
    settle(client, ("a", phrases(0, 5000)), ("b", phrases(0, ODDITIES_NAMED)))
    counted = oddities(client)
    assert counted["a"] == {**dict.fromkeys(phrases(0, ODDITIES_NAMED), 1), OTHER_ODDITIES: 5000 - ODDITIES_NAMED}
    assert counted["b"] == dict.fromkeys(phrases(0, ODDITIES_NAMED), 1)


def test_counts_of_an_older_release_go_on_and_use_room_of_their_own_source(client: inbox.Shard) -> None:
    before: dict[Any, Any] = {f"old:{phrase}": 7 for phrase in phrases(0, ODDITY_KINDS - 1)}
    client.hset(ODDITIES, mapping=before)  # it knew no number of kinds
    settle(client, ("old", phrases(0, 1)), ("old", ["new"]), ("young", ["new"]))
    settle(client, ("old", ["one too many"]))
    counted = oddities(client)
    kinds = {**dict.fromkeys(phrases(0, ODDITY_KINDS - 1), 7), phrases(0, 1)[0]: 8, "new": 1}
    assert counted == {"old": {**kinds, OTHER_ODDITIES: 1}, "young": {"new": 1}}


def test_counts_that_were_deleted_begin_anew_with_all_their_room(client: inbox.Shard) -> None:
    settle(client, *(("a", [phrase]) for phrase in phrases(0, ODDITY_KINDS)))
    client.delete(ODDITIES)
    settle(client, ("a", ["new"]))
    assert oddities(client) == {"a": {"new": 1}}
    assert client.hgetall(KINDS) == {b"a": b"1"}


def test_an_oddity_costs_the_same_however_many_are_counted(client: inbox.Shard) -> None:
    settle(client, ("a", ["first"]))
    client.config_resetstat()
    settle(client, *(("a", phrases(20 * number, 20)) for number in range(50)))
    sent = {name: stats["calls"] for name, stats in client.info("commandstats").items()}
    assert not {"cmdstat_hkeys", "cmdstat_hgetall", "cmdstat_hscan", "cmdstat_hvals"} & set(sent), "reads a whole hash"
    assert sent["cmdstat_hset"] + sent["cmdstat_hincrby"] <= ODDITY_KINDS + 5
