"""The quarantine in a real Redis: what is kept, within which bounds, and who gives way."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
import redis
from redis.crc import key_slot

from shared import inbox
from shared.callback import Arrival, new_id
from shared.inbox import Quarantine, QuarantineWriter, RedisUnavailable, connect_async
from shared.inbox.keys import Keys
from shared.inbox.quarantine import BESIDE_BYTES, MOST_REMOVED, Bounds, Change, Item
from shared.refused import Refused
from shared.source import Source

NOW = datetime(2026, 11, 27, 18, tzinfo=UTC)
ROOMY = Bounds(1000, 1024 * 1024, 3600)
MIB = 1024 * 1024


def refused(number: int = 0, source: str = "fleet", body: bytes = b"{}") -> Refused:
    arrival = Arrival.of(
        id=new_id(NOW + timedelta(milliseconds=number)),
        source=source,
        provider="messente",
        received_at=NOW + timedelta(milliseconds=number),
        method="POST",
        target=f"/callbacks/{source}",
        headers={"x-messente-signature": "00"},
        body=body,
        remote_ip="192.0.2.7",
    )
    return Refused.of(arrival, "signature_wrong", Source(source, "messente"), "192.0.2.7", {})


def items(*numbers: int, source: str = "fleet", address: str = "192.0.2.7", body: bytes = b"{}") -> list[Item]:
    return [(address, refused(number, source, body)) for number in numbers]


def keep(url: str, *groups: Sequence[Item], bounds: Bounds = ROOMY) -> list[Change]:
    async def run() -> list[Change]:
        writer = QuarantineWriter(connect_async(url, 5.0), bounds, 5.0)
        changes = [await writer.keep(group) for group in groups]
        await writer.close()
        return changes

    return asyncio.run(run())


@pytest.fixture
def quarantine(redis_url: str) -> Iterator[Quarantine]:
    with inbox.connect(redis_url, 5.0) as shard:
        yield Quarantine(shard)


def sizes(url: str) -> dict[str, dict[str, int]]:
    with inbox.connect(url, 5.0) as shard:
        return {source: dict(counts) for source, counts in inbox.take_snapshot(shard).quarantine.items()}


def check_sizes(url: str) -> None:
    """The sizes that are reported, and those by address, are those of what there is."""
    names = Keys(0)
    with redis.Redis.from_url(url) as client:
        for source, counts in sizes(url).items():
            keys = names.refused(source)
            members = client.zrange(keys.times, 0, -1)
            assert sorted(client.zrange(keys.order, 0, -1)) == sorted(members)
            assert client.hlen(keys.requests) == len(members) == counts["requests"]
            shares: Counter[bytes] = Counter()
            for member in members:
                address, id, size = member.split(b" ")
                shares[address] += int(size)
                assert len(client.hget(keys.requests, id)) + BESIDE_BYTES == int(size)
            assert dict(client.zrange(keys.shares, 0, -1, withscores=True)) == shares
            assert sum(shares.values()) == counts["bytes"]


def test_a_request_is_kept_as_it_came_and_found_by_its_id(redis_url: str, quarantine: Quarantine) -> None:
    first, second = items(1, 2)
    (change,) = keep(redis_url, [first, second])
    assert (change.counts, change.is_over) == ({("fleet", "kept"): 2}, True)
    assert quarantine.sources() == ["fleet"]
    assert list(quarantine.newest("fleet")) == [second[1], first[1]]
    assert [held.refused for group in quarantine.oldest("fleet", 1) for held in group] == [first[1], second[1]]
    assert quarantine.find(first[1].callback.id) == first[1]
    assert quarantine.find(new_id(NOW)) is None
    check_sizes(redis_url)


def test_the_same_request_is_kept_once(redis_url: str) -> None:
    group = items(1)
    assert [change.counts for change in keep(redis_url, group, group)] == [{("fleet", "kept"): 1}, {}]
    check_sizes(redis_url)


def test_what_is_proven_is_removed_and_nothing_else(redis_url: str, quarantine: Quarantine) -> None:
    keep(redis_url, items(1, 2, 3), items(4, source="otp"))
    (first, second, third) = next(quarantine.oldest("fleet", 10))
    quarantine.remove("fleet", [second.member])
    quarantine.remove("fleet", [second.member])
    assert [held.refused for held in next(quarantine.oldest("fleet", 10))] == [first.refused, third.refused]
    quarantine.remove("fleet", [first.member, third.member])
    assert quarantine.sources() == ["otp"]
    check_sizes(redis_url)


def test_the_oldest_go_first_beyond_the_number_of_requests(redis_url: str, quarantine: Quarantine) -> None:
    bounds = replace_bounds(requests=3)
    (change,) = keep(redis_url, items(*range(5)), bounds=bounds)
    assert change.counts == {("fleet", "kept"): 5, ("fleet", "room"): 2}
    assert numbers(quarantine) == [2, 3, 4]
    check_sizes(redis_url)


def test_the_oldest_go_first_beyond_the_bytes(redis_url: str, quarantine: Quarantine) -> None:
    keep(redis_url, items(*range(5), body=b"x" * 10_000), bounds=replace_bounds(bytes=35_000))
    assert numbers(quarantine) == [2, 3, 4]
    assert sizes(redis_url)["fleet"]["bytes"] <= 35_000
    (change,) = keep(redis_url, items(6, body=b"x" * 40_000), bounds=replace_bounds(bytes=35_000))
    assert change.counts == {("fleet", "room"): 1}
    check_sizes(redis_url)


def test_a_flood_from_one_address_leaves_the_others_their_share(redis_url: str, quarantine: Quarantine) -> None:
    bounds = replace_bounds(requests=20)
    honest = items(*range(8), address="192.0.2.1")
    flood = [items(*range(n, n + 10), address="198.51.100.9") for n in range(100, 200, 10)]
    keep(redis_url, honest, *flood, bounds=bounds)
    assert numbers(quarantine)[:8] == list(range(8))
    assert len(numbers(quarantine)) == 20
    check_sizes(redis_url)


def test_large_requests_count_for_more(redis_url: str, quarantine: Quarantine) -> None:
    """Else a few of them would push out many small ones of another address."""
    bounds = replace_bounds(bytes=100_000)
    keep(
        redis_url,
        items(*range(8), address="192.0.2.1"),
        *[items(n, address="198.51.100.9", body=b"x" * 20_000) for n in range(100, 120)],
        bounds=bounds,
    )
    assert numbers(quarantine)[:8] == list(range(8))
    check_sizes(redis_url)


def test_what_is_too_old_goes_whoever_calls(redis_url: str) -> None:
    keep(redis_url, items(1, 2), items(3, source="otp"))
    with redis.Redis.from_url(redis_url) as client:
        times = Keys(0).refused("fleet").times
        for member in client.zrange(times, 0, 0):
            client.zincrby(times, -3_600_001, member)
    (change,) = keep(redis_url, [])
    assert change.counts == {("fleet", "age"): 1}
    assert {source: counts["requests"] for source, counts in sizes(redis_url).items()} == {"fleet": 1, "otp": 1}
    check_sizes(redis_url)


def test_without_any_ingress_it_ends_by_itself_and_its_size_is_corrected(redis_url: str) -> None:
    keep(redis_url, items(1))
    with redis.Redis.from_url(redis_url) as client:
        for key in Keys(0).refused("fleet"):
            assert 3500 < client.ttl(key) <= 3600
            client.delete(key)
    keep(redis_url, [])
    assert sizes(redis_url) == {}


def test_one_call_removes_so_much_that_callbacks_do_not_wait_long(redis_url: str) -> None:
    count = MOST_REMOVED + 10
    keep(redis_url, items(*range(count)), bounds=replace_bounds(requests=count, bytes=100 * MIB))
    first, second = keep(redis_url, [], [], bounds=replace_bounds(requests=1, bytes=100 * MIB))
    assert (first.counts, first.is_over) == ({("fleet", "room"): MOST_REMOVED}, False)
    assert (second.counts, second.is_over) == ({("fleet", "room"): 9}, True)
    check_sizes(redis_url)


def test_nothing_is_kept_of_a_source_that_keeps_none(redis_url: str) -> None:
    (change,) = keep(redis_url, items(1), bounds=replace_bounds(requests=0))
    assert (change.counts, sizes(redis_url)) == ({("fleet", "room"): 1}, {})


@pytest.fixture
def small_redis(redis_url: str) -> Iterator[tuple[str, "redis.Redis"]]:
    """One with a maxmemory, which ends with the test."""
    with redis.Redis.from_url(redis_url) as client:
        yield redis_url, client
        client.config_set("maxmemory", 0)


def test_all_sources_together_take_a_twentieth_of_maxmemory(small_redis: tuple[str, "redis.Redis"]) -> None:
    """The largest source gives way, so that one with little keeps it."""
    url, client = small_redis
    client.config_set("maxmemory", 40 * MIB)
    groups = [items(*range(n, n + 20), body=b"x" * 20_000) for n in range(0, 200, 20)]
    bounds = replace_bounds(bytes=100 * MIB)
    changes = keep(url, items(1000, source="otp"), *groups, bounds=bounds)
    taken = sizes(url)
    assert sum(counts["bytes"] for counts in taken.values()) <= 2 * MIB
    assert taken["otp"]["requests"] == 1
    counts = sum((Counter(change.counts) for change in changes), Counter())
    assert counts["fleet", "kept"] == 200 == counts["fleet", "memory"] + taken["fleet"]["requests"]
    check_sizes(url)


def test_a_redis_that_is_nearly_full_keeps_none_and_still_removes(small_redis: tuple[str, "redis.Redis"]) -> None:
    url, client = small_redis
    keep(url, items(1))
    client.config_set("maxmemory", int(client.info("memory")["used_memory"] / 0.9))
    (change,) = keep(url, items(2))
    assert change.counts == {("fleet", "memory"): 1}
    client.config_set("maxmemory", 1)  # beyond it: no other write is taken
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        client.set("x", 1)
    (change,) = keep(url, items(3), bounds=replace_bounds(requests=0))
    assert change.counts == {("fleet", "memory"): 1, ("fleet", "room"): 1}
    client.config_set("maxmemory", 0)
    assert sizes(url) == {}


def test_what_it_takes_of_redis_is_what_it_counts_about(redis_url: str) -> None:
    """With small requests, of which the parts beside the body weigh most, and with what was pushed out in between."""
    with redis.Redis.from_url(redis_url) as client:
        before = client.info("memory")["used_memory"]
        many = [items(*range(n, n + 100), address=f"192.0.2.{n % 7}", body=b"x" * 300) for n in range(0, 3000, 100)]
        keep(redis_url, *many, bounds=replace_bounds(requests=2000, bytes=100 * MIB))
        taken = client.info("memory")["used_memory"] - before
    assert taken < 1.25 * sizes(redis_url)["fleet"]["bytes"]


def test_keys_of_a_call_are_in_one_slot_of_a_cluster() -> None:
    names = Keys(3)
    keys = {names.quarantine, *names.refused("fleet"), *names.refused("otp")}
    assert len(keys) == 9
    assert {key_slot(key.encode()) for key in keys} == {key_slot(names.inbox.encode())}


def test_without_redis_it_is_unavailable() -> None:
    with pytest.raises(RedisUnavailable):
        keep("redis://127.0.0.1:1/0", items(1))


def test_a_request_of_another_release_is_left_out(redis_url: str, quarantine: Quarantine) -> None:
    keep(redis_url, items(1, 2))
    with redis.Redis.from_url(redis_url) as client:
        names = Keys(0).refused("fleet")
        client.hset(names.requests, client.hkeys(names.requests)[0], b"?")
    assert len(list(quarantine.newest("fleet"))) == 1


def numbers(quarantine: Quarantine) -> list[int]:
    """Which requests are kept, the oldest first."""
    found = [each.callback.received_at - NOW for each in quarantine.newest("fleet")]
    return [round(each / timedelta(milliseconds=1)) for each in reversed(found)]


def replace_bounds(**changes: int) -> Bounds:
    return ROOMY._replace(**changes)
