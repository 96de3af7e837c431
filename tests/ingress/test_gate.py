"""What connections share: how many there may be from where, what they hold, and when each of them ends."""

import asyncio
import resource
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any, cast

import pytest
import structlog
from structlog.testing import LogCapture

from ingress import gate
from ingress.address import Proxies
from ingress.gate import Gate, Limits
from ingress.metrics import CONNECTIONS_ENDED, CONNECTIONS_REFUSED
from shared.settings import Settings

LIMITS = Limits.of(Settings())._replace(
    connections=6, connections_per_address=2, unproven_bytes=100, answer_seconds=0.2
)

NO_PROXIES = Proxies(())


class Connection:
    """One that does nothing by itself, and notes how it is called."""

    def __init__(self, deadline: float = float("inf"), unread: int = 0) -> None:
        self.deadline = deadline
        self.unread_since = 0.0
        self.held_bytes = 0
        self.unread = unread
        self.calls: list[str] = []

    def unread_bytes(self) -> int:
        return self.unread

    def expire(self) -> None:
        self.calls.append("expire")
        self.deadline = float("inf")

    def evict(self) -> None:
        self.calls.append("evict")

    def end(self, why: str) -> None:
        self.calls.append(why)
        self.unread = 0


@pytest.fixture
def log_entries(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    capture = LogCapture()
    monkeypatch.setattr(gate, "log", structlog.wrap_logger(None, processors=[capture]))
    return cast(list[Any], capture.entries)


def within(check: Callable[[Gate], Any], limits: Limits = LIMITS, proxies: Proxies = NO_PROXIES) -> None:
    async def run() -> None:
        result = check(Gate(limits, proxies))
        if asyncio.iscoroutine(result):
            await result

    asyncio.run(run())


def value(counter: Any, label: str) -> float:
    return float(counter.labels(label)._value.get())


@pytest.mark.parametrize(
    ("first", "same", "other"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"),
    ],
)
def test_one_address_has_so_many_connections_and_others_have_theirs(
    first: str, same: str, other: str, log_entries: list[Any]
) -> None:
    def check(gate: Gate) -> None:
        refused = value(CONNECTIONS_REFUSED, "address")
        mine = Connection()
        assert gate.admit(mine, first)
        assert gate.admit(Connection(), same)
        assert not gate.admit(Connection(), first)
        assert not gate.admit(Connection(), same)
        assert gate.admit(Connection(), other)
        gate.leave(mine, first)
        gate.leave(mine, first)
        assert gate.admit(Connection(), same)
        assert value(CONNECTIONS_REFUSED, "address") == refused + 2

    within(check)
    (event,) = log_entries
    assert (event["event"], event["limit"]) == ("connection refused", "address")
    assert "CALLBOX_TRUSTED_PROXIES" in event["why"]


def test_in_all_there_are_so_many_whoever_they_are(log_entries: list[Any]) -> None:
    def check(gate: Gate) -> None:
        connections = [Connection() for _ in range(6)]
        assert all(gate.admit(connection, f"192.0.2.{number}") for number, connection in enumerate(connections))
        assert not gate.admit(Connection(), "192.0.2.99")
        gate.leave(connections[0], "192.0.2.0")
        assert gate.admit(Connection(), "192.0.2.99")

    within(check)
    assert [event["limit"] for event in log_entries] == ["all"]


@pytest.mark.parametrize("peer", ["10.0.0.1", None])
def test_a_trusted_proxy_and_a_unix_socket_have_the_limit_of_all(peer: str | None) -> None:
    def check(gate: Gate) -> None:
        assert all(gate.admit(Connection(), peer) for _ in range(6))
        assert not gate.admit(Connection(), peer)

    within(check, proxies=Proxies([ip_network("10.0.0.0/8")]))


def test_the_oldest_unfinished_request_makes_room() -> None:
    def check(gate: Gate) -> None:
        ended = value(CONNECTIONS_ENDED, "memory")
        first, second, third = (Connection() for _ in range(3))
        gate.hold(first, 40)
        gate.hold(second, 40)
        gate.hold(first, 60)
        assert (first.calls, second.calls) == ([], [])
        gate.hold(third, 1)
        assert (first.calls, second.calls, third.calls) == (["evict"], [], [])
        gate.hold(second, 0)
        gate.hold(third, 100)
        assert third.calls == []
        gate.hold(third, 101)
        assert third.calls == ["evict"], "alone it may hold no more than all"
        assert value(CONNECTIONS_ENDED, "memory") == ended + 2

    within(check)


def test_a_deadline_and_an_unread_answer_end_a_connection_in_their_time() -> None:
    async def check(gate: Gate) -> None:
        now = asyncio.get_running_loop().time()
        late, deaf, reading, idle = Connection(now + 0.1), Connection(unread=9), Connection(unread=9), Connection()
        for number, connection in enumerate((late, deaf, reading, idle)):
            assert gate.admit(connection, f"192.0.2.{number}")
        for _ in range(40):
            await asyncio.sleep(0.01)
            reading.unread = 0 if reading.unread else 9  # it reads all, and gets more
            if asyncio.get_running_loop().time() < now + 0.09:
                assert late.calls == []
            if asyncio.get_running_loop().time() < now + 0.19:
                assert deaf.calls == []
        assert (late.calls, deaf.calls, reading.calls, idle.calls) == (["expire"], ["answer"], [], [])

    within(check)


def test_where_unread_answers_take_too_much_the_largest_end() -> None:
    async def check(gate: Gate) -> None:
        sizes = (60, 30, 20)
        connections = [Connection(unread=size) for size in sizes]
        for number, connection in enumerate(connections):
            assert gate.admit(connection, f"192.0.2.{number}")
        await asyncio.sleep(0.1)
        assert [connection.calls for connection in connections] == [["memory"], [], []]

    within(check, LIMITS._replace(answer_seconds=0.4))


def test_after_a_stop_everything_ends_in_its_time() -> None:
    async def check(gate: Gate) -> None:
        connection = Connection()
        assert gate.admit(connection, None)
        gate.stop()
        gate.stop()
        await asyncio.sleep(0.05)
        assert connection.calls == []
        await asyncio.sleep(0.3)
        assert connection.calls[0] == "stop"

    within(check, LIMITS._replace(stop_seconds=0.2))


def test_nothing_ticks_while_there_are_no_connections() -> None:
    async def check(gate: Gate) -> None:
        connection = Connection()
        gate.admit(connection, None)
        gate.leave(connection, None)
        await asyncio.sleep(0.1)
        assert not gate._is_ticking
        gate.admit(connection, None)
        assert gate._is_ticking

    within(check)


@pytest.mark.parametrize(("soft", "connections"), [(64, 24), (256, 216), (1024, 896), (65_536, 4096)])
def test_connections_leave_descriptors_for_the_ingress_itself(
    soft: int, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
    assert Limits.of(Settings()).connections == connections
