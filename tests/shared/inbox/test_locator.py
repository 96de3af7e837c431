"""Whom Sentinels and the nodes of a Cluster name, and who of them is believed."""

import asyncio
import socketserver
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from shared import inbox
from shared.inbox import RedisUnavailable, locator
from shared.inbox.keys import Keys
from shared.inbox.locator import Locator, NoPrimary, Place
from shared.redis_url import parse_redis_url

Answers = dict[tuple[str, str], Any]  # first two words of a command → what is answered


def encoded(value: Any) -> bytes:
    """As Redis writes it (RESP2)."""
    if isinstance(value, Exception):
        return f"-{value}\r\n".encode()
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(encoded, value))
    if value is None:
        return b"*-1\r\n"
    return b"$%d\r\n%s\r\n" % (len(value), value.encode())


@contextmanager
def node(answers: Answers, delay_seconds: float = 0.0) -> Iterator[Place]:
    """A server that answers these commands, and OK to any other."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while line := self.rfile.readline():
                words = []
                for _ in range(int(line[1:])):
                    size = int(self.rfile.readline()[1:])
                    words.append(self.rfile.read(size + 2)[:-2].decode().upper())
                time.sleep(delay_seconds)
                self.wfile.write(encoded(answers.get((words[0], " ".join(words[1:2])), "OK")))

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        try:
            yield Place("127.0.0.1", server.server_address[1])
        finally:
            server.shutdown()


def sentinel(host: str, port: int, epoch: int) -> Answers:
    return {
        ("SENTINEL", "GET-MASTER-ADDR-BY-NAME"): [host, str(port)],
        ("SENTINEL", "MASTER"): ["name", "m", "ip", "192.0.2.9", "config-epoch", str(epoch)],
    }


def cluster(ranges: Sequence[tuple[int, int, str, int]], epoch: int) -> Answers:
    return {
        ("CLUSTER", "SLOTS"): [[first, last, [host, port, "id"]] for first, last, host, port in ranges],
        ("CLUSTER", "INFO"): f"cluster_state:ok\r\ncluster_current_epoch:{epoch}\r\n",
    }


def located(url: str, nodes: Sequence[Answers], number: int = 0, delay_seconds: float = 0.0) -> Place:
    with ExitStack() as stack:
        places = [stack.enter_context(node(answers, delay_seconds)) for answers in nodes]
        hosts = ",".join(f"{place.host}:{place.port}" for place in places)
        return Locator(parse_redis_url(url.format(hosts)), Keys(number).tag).locate()


SENTINELS, CLUSTER = "redis+sentinel://{}/m", "redis+cluster://{}"


def test_the_sentinel_that_knows_the_latest_failover_is_believed() -> None:
    """The others learn of it up to two seconds later, and one that is cut off never."""
    old, new = sentinel("192.0.2.1", 1, 4), sentinel("192.0.2.2", 2, 5)
    assert located(SENTINELS, [old, new, old]) == Place("192.0.2.2", 2)


def test_sentinels_that_do_not_know_the_primary_or_are_away_are_passed_over() -> None:
    unknown: Answers = {
        ("SENTINEL", "GET-MASTER-ADDR-BY-NAME"): None,
        ("SENTINEL", "MASTER"): Exception("ERR No such master with that name"),
    }
    assert located(SENTINELS, [unknown, sentinel("192.0.2.1", 1, 0)]) == Place("192.0.2.1", 1)
    with pytest.raises(NoPrimary, match="the Sentinels know no primary called m"):
        located(SENTINELS, [unknown, unknown])
    with pytest.raises(NoPrimary, match="no Sentinel answers"):
        Locator(parse_redis_url("redis+sentinel://127.0.0.1:1/m"), "{t}").locate()


def test_that_no_primary_is_known_is_said_to_who_waits_for_it() -> None:
    async def append() -> None:
        appender = inbox.Appender.connect("redis+sentinel://:s3cret@127.0.0.1:1/m", 100, 5.0)
        try:
            await appender.append([("a", b"1")])
        finally:
            await appender.close()

    with pytest.raises(RedisUnavailable, match="Redis cannot be found: no Sentinel answers"):
        asyncio.run(append())
    says = "Redis cannot be found: no node of the Cluster answers"
    nowhere = inbox.connect("redis+cluster://:s3cret@127.0.0.1:1", 5.0)
    with nowhere as shard, pytest.raises(RedisUnavailable, match=says):
        inbox.ping(shard)


def test_one_that_does_not_answer_in_time_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locator, "ASK_SECONDS", 0.2)
    with node(sentinel("192.0.2.1", 1, 9), delay_seconds=30) as slow, node(sentinel("192.0.2.2", 2, 5)) as quick:
        url = f"redis+sentinel://127.0.0.1:{slow.port},127.0.0.1:{quick.port}/m"
        began = time.monotonic()
        assert Locator(parse_redis_url(url), "{t}").locate() == Place("192.0.2.2", 2)
        assert time.monotonic() - began < 15


def test_sentinels_may_be_far_away() -> None:
    """A greeting and an answer are several round trips, more by TLS."""
    assert located(SENTINELS, [sentinel("192.0.2.1", 1, 5)], delay_seconds=0.2) == Place("192.0.2.1", 1)


def test_of_two_names_for_one_primary_the_same_is_believed_each_time() -> None:
    """Else every look would cut the connections to the other one."""
    with node(sentinel("192.0.2.1", 1, 5), delay_seconds=0.02) as first, node(sentinel("name", 1, 5)) as quick:
        found = Locator(parse_redis_url(f"redis+sentinel://127.0.0.1:{first.port},127.0.0.1:{quick.port}/m"), "{t}")
        assert {found.locate() for _ in range(8)} == {Place("192.0.2.1", 1)}


def test_sentinels_that_want_another_password_say_so() -> None:
    wanted = Exception("NOAUTH Authentication required.")
    refuses: Answers = {("SENTINEL", "GET-MASTER-ADDR-BY-NAME"): wanted, ("SENTINEL", "MASTER"): wanted}
    with pytest.raises(NoPrimary, match=r"no Sentinel answers \(wrong user or password\)"):
        located(SENTINELS, [refuses])


@pytest.mark.parametrize(("number", "port"), [(0, 2), (1, 1), (2, 3), (3, 2)])
def test_the_node_that_has_the_slot_of_the_shard_is_named(number: int, port: int) -> None:
    ranges = [(0, 5460, "192.0.2.1", 1), (5461, 10922, "192.0.2.1", 2), (10923, 16383, "192.0.2.1", 3)]
    assert located(CLUSTER, [cluster(ranges, 7)], number) == Place("192.0.2.1", port)


def test_the_node_that_knows_the_latest_failover_is_believed() -> None:
    def all_of_it(host: str, epoch: int) -> Answers:
        return cluster([(0, 16383, host, 1)], epoch)

    nodes = [all_of_it("192.0.2.1", 3), all_of_it("192.0.2.2", 4), all_of_it("192.0.2.3", 3)]
    assert located(CLUSTER, nodes) == Place("192.0.2.2", 1)


def test_a_node_without_a_name_is_where_the_asked_one_is() -> None:
    for host in ("", "?"):
        assert located(CLUSTER, [cluster([(0, 16383, host, 7)], 1)]) == Place("127.0.0.1", 7)


def test_a_node_that_should_have_a_name_and_has_none_is_at_its_address() -> None:
    """As with `cluster-preferred-endpoint-type hostname`, where a node has no `cluster-announce-hostname`."""
    nameless = [0, 16383, ["?", 7, "id", ["ip", "192.0.2.7"]]]
    nodes: Answers = {
        ("CLUSTER", "SLOTS"): [nameless],
        ("CLUSTER", "INFO"): "cluster_current_epoch:1\r\n",
    }
    assert located(CLUSTER, [nodes]) == Place("192.0.2.7", 7)


def test_a_cluster_in_which_nobody_has_the_slot_is_a_failure() -> None:
    with pytest.raises(NoPrimary, match="no node of the Cluster knows who has the slot of the shard"):
        located(CLUSTER, [cluster([(0, 10, "192.0.2.1", 1)], 1)])


def test_nodes_that_were_named_are_asked_the_next_time_and_the_given_ones_when_they_are_away() -> None:
    with ExitStack() as stack:
        other = stack.enter_context(node({}))
        given = stack.enter_context(node(cluster([(0, 16383, other.host, other.port)], 1)))
        found = Locator(parse_redis_url(f"redis+cluster://{given.host}:{given.port}"), Keys(0).tag)
        assert found.locate() == other
        assert found._ask == [other]
        assert found.locate() == other, "the other one knows nothing: the given one is asked again"


def test_one_server_is_where_its_url_says() -> None:
    assert Locator(parse_redis_url("redis://[::1]:7"), "{t}").locate() == Place("::1", 7)
    assert Locator(parse_redis_url("unix:///run/s"), "{t}").locate() == Place("/run/s", 0)
    assert not Locator(parse_redis_url("redis://127.0.0.1"), "{t}").can_move
    assert not Locator(parse_redis_url("unix:///run/s"), "{t}").can_move
    assert Locator(parse_redis_url("redis://a-name"), "{t}").can_move, "its address may change"


def test_four_shards_are_on_four_different_quarters_of_the_slots() -> None:
    assert len({Locator(parse_redis_url("redis://a"), Keys(number).tag)._slot * 4 // 16384 for number in range(4)}) == 4
    assert len({Locator(parse_redis_url("redis://a"), Keys(number).tag)._slot * 3 // 16384 for number in range(3)}) == 3
