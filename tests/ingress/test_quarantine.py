"""What the ingress keeps of what it refuses: a little of each, and never in the way of what it accepts."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import cast

import pytest

from ingress import quarantine
from ingress.metrics import QUARANTINE_DROPPED, QUARANTINE_KEPT
from ingress.quarantine import GROUP_BYTES, REQUEST_BYTES, Quarantine
from shared.callback import Arrival, new_id
from shared.inbox import QuarantineWriter, RedisUnavailable
from shared.inbox.quarantine import Change, Item
from shared.source import Source
from tests.ingress.conftest import NOW
from tests.ingress.test_receive import count

MOST = GROUP_BYTES // REQUEST_BYTES


class Writer:
    """Keeps what it is given, or cannot."""

    def __init__(self, error: Exception | None = None, is_over: bool = True) -> None:
        self.groups: list[list[Item]] = []
        self.closed = False
        self._error = error
        self._is_over = is_over

    async def keep(self, items: Sequence[Item]) -> Change:
        self.groups.append(list(items))
        if self._error:
            raise self._error
        return Change(Counter((refused.callback.source, "kept") for _, refused in items), self._is_over)

    async def close(self) -> None:
        self.closed = True


def made(writer: Writer) -> Quarantine:
    return Quarantine(cast(QuarantineWriter, writer))


def add(to: Quarantine, source: str = "fleet", address: str = "192.0.2.1", size: int = 0, times: int = 1) -> None:
    for _ in range(times):
        arrival = Arrival.of(
            id=new_id(NOW),
            source=source,
            provider="stub",
            received_at=NOW,
            method="POST",
            target=f"/callbacks/{source}",
            headers={},
            body=b"x" * size,
            remote_ip=address,
        )
        to.add(arrival, "signature_wrong", Source(source, "stub"), address, {})


def flushed(to: Quarantine, writer: Writer) -> Counter[tuple[str, str | None]]:
    """What went to Redis, by source and address."""
    asyncio.run(to.flush())
    return Counter((refused.callback.source, refused.callback.remote_ip) for _, refused in writer.groups[-1])


def test_a_second_keeps_up_to_a_number_and_the_rest_is_counted() -> None:
    writer = Writer()
    kept = made(writer)
    before = count(QUARANTINE_DROPPED, source="fleet", reason="rate"), count(QUARANTINE_KEPT, source="fleet")
    add(kept, times=MOST + 44)
    assert flushed(kept, writer) == {("fleet", "192.0.2.1"): MOST}
    assert count(QUARANTINE_DROPPED, source="fleet", reason="rate") == before[0] + 44
    assert count(QUARANTINE_KEPT, source="fleet") == before[1] + MOST
    add(kept, times=3)
    assert flushed(kept, writer) == {("fleet", "192.0.2.1"): 3}


def test_large_bodies_count_for_more() -> None:
    writer = Writer()
    kept = made(writer)
    add(kept, size=64 * 1024, times=100)
    kept_bytes = sum(len(refused.callback.body) for _, refused in _flush(kept, writer))
    assert GROUP_BYTES * 0.9 < kept_bytes <= GROUP_BYTES


def _flush(kept: Quarantine, writer: Writer) -> list[Item]:
    asyncio.run(kept.flush())
    return writer.groups[-1]


@pytest.mark.parametrize("honest_first", [True, False])
def test_a_flood_from_one_address_gives_way_to_the_others(honest_first: bool) -> None:
    writer = Writer()
    kept = made(writer)
    if honest_first:
        add(kept, address="192.0.2.1", times=100)
    add(kept, address="198.51.100.9", times=10 * MOST)
    if not honest_first:
        add(kept, address="192.0.2.1", times=100)
    found = flushed(kept, writer)
    assert found == {("fleet", "192.0.2.1"): 100, ("fleet", "198.51.100.9"): MOST - 100}


def test_a_flood_from_many_addresses_at_one_source_gives_way_to_another_source() -> None:
    writer = Writer()
    kept = made(writer)
    for number in range(4 * MOST):
        add(kept, "fleet", f"198.51.{number // 256}.{number % 256}")
        if number < 100:
            add(kept, "otp")
    found = flushed(kept, writer)
    assert found["otp", "192.0.2.1"] == 100
    assert sum(found.values()) == MOST


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    writer = Writer()
    kept = made(writer)
    add(kept, address="2001:db8:1::1", times=100)
    for number in range(4 * MOST):
        add(kept, address=f"2001:db8:2::{number:x}")
    assert flushed(kept, writer)["fleet", "2001:db8:1::1"] == 100


def test_room_is_what_the_next_request_would_find() -> None:
    kept = made(Writer())
    assert kept.has_room("fleet", None)
    add(kept, times=MOST)
    assert not kept.has_room("fleet", "192.0.2.1")
    assert kept.has_room("fleet", "192.0.2.2")
    assert kept.has_room("otp", "192.0.2.1")


def test_without_redis_it_is_counted_and_forgotten() -> None:
    writer = Writer(RedisUnavailable("away"))
    kept = made(writer)
    before = count(QUARANTINE_DROPPED, source="fleet", reason="redis")
    add(kept, times=7)
    assert len(_flush(kept, writer)) == 7
    assert count(QUARANTINE_DROPPED, source="fleet", reason="redis") == before + 7
    asyncio.run(kept.flush())
    assert len(writer.groups) == 1, "nothing is left to send"


def test_what_is_too_old_is_looked_for_now_and_then_while_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer()
    kept = made(writer)
    asyncio.run(kept.flush())
    assert writer.groups == []
    monkeypatch.setattr(quarantine, "SWEEP_SECONDS", 0.0)
    asyncio.run(kept.flush())
    assert writer.groups == [[]]


def test_what_could_not_be_removed_at_once_is_due_at_once() -> None:
    writer = Writer(is_over=False)
    kept = made(writer)
    add(kept)
    asyncio.run(kept.flush())
    asyncio.run(kept.flush())
    assert [len(group) for group in writer.groups] == [1, 0]


def test_it_goes_on_whatever_fails_and_sends_the_last_ones_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "FLUSH_SECONDS", 0.001)
    writer = Writer(RuntimeError("a bug"))

    async def run() -> None:
        kept = made(writer)
        running = asyncio.create_task(kept.run())
        add(kept)
        while not writer.groups:
            await asyncio.sleep(0.001)
        assert not running.done()
        running.cancel()
        writer._error = None
        add(kept, times=2)
        await kept.close()

    asyncio.run(run())
    assert (len(writer.groups[-1]), writer.closed) == (2, True)


def test_what_is_on_its_way_when_the_ingress_stops_is_sent_again() -> None:
    class Slow(Writer):
        async def keep(self, items: Sequence[Item]) -> Change:
            change = await super().keep(items)
            if len(self.groups) == 1:
                await asyncio.Event().wait()
            return change

    async def run(writer: Slow) -> None:
        kept = made(writer)
        add(kept, times=3)
        flushing = asyncio.create_task(kept.flush())
        while not writer.groups:
            await asyncio.sleep(0)
        flushing.cancel()
        await asyncio.wait([flushing])
        await kept.close()

    writer = Slow()
    asyncio.run(run(writer))
    assert writer.groups[0] == writer.groups[1]


def test_who_takes_most_is_found_whatever_comes_and_goes_and_what_it_costs_does_not_grow() -> None:
    dice, sizes, taken = Random(1), quarantine._Sizes(), Counter[str]()
    for _ in range(20_000):
        name = f"192.0.2.{dice.randrange(200)}"
        size = dice.choice([dice.randrange(1, 5000), -taken[name]])
        if size:
            taken[name] += size
            sizes.add(name, size)
        if +taken:
            assert taken[sizes.largest()] == max(taken.values())
    assert len(sizes._heap) <= 4 * 200 + quarantine.SPARE_SIZES
