"""Where the primary of a shard is now: the one server of the URL, the one that Sentinels name, or the node of a Cluster
that has the shard's slot.

Sentinels and nodes may be out of date, above all one that is cut off from the others. So all are asked at once, and the
answer of the latest epoch counts, which a failover raises at the one that decides it first.
"""

import socket
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from ipaddress import ip_address
from time import monotonic
from typing import Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from shared.inbox.reason import reason
from shared.redis_url import RedisURL

FIRST_SECONDS = 1.5  # for the first Sentinel or node to answer: by TLS, over a long way, that is six round trips
ASK_SECONDS = 0.5  # for all others, once one has answered; and for one address to take a connection


class Place(NamedTuple):
    """A server's host and port, or the path of its socket and 0."""

    host: str
    port: int


class NoPrimary(RedisConnectionError):
    """No one knows where the primary is. Its text has the reason, for people."""


class _Answer(NamedTuple):
    epoch: int
    place: Place
    others: Sequence[Place] = ()  # to be asked the next time


class Locator:
    """For one shard; many threads may use it."""

    def __init__(self, url: RedisURL, tag: str) -> None:
        """`tag` is the hash tag of the shard's keys."""
        self.url = url
        self._slot = key_slot(tag.encode())
        self._given = [Place(*host) for host in url.hosts]
        self._ask = self._given
        self._know_nothing = False  # whether one answered, the last time, that it does not know the primary
        self._failure = ""  # of another one, the last time

    @property
    def can_move(self) -> bool:
        """Whether `locate` may answer something else another time."""
        return not self.url.path and (self._asks_others or not _is_address(self.url.hosts[0][0]))

    def locate(self) -> Place:
        """The primary's place. Raises NoPrimary when no one knows it."""
        if self.url.path:
            return Place(self.url.path, 0)
        return self._latest() if self._asks_others else self._given[0]

    def addresses(self, place: Place) -> set[str]:
        """The addresses that a place's name has now; empty when that cannot be found out."""
        with suppress(OSError):
            return {str(found[4][0]) for found in socket.getaddrinfo(*place, type=socket.SOCK_STREAM)}
        return set()

    @property
    def _asks_others(self) -> bool:
        return bool(self.url.master) or self.url.is_cluster

    def _latest(self) -> Place:
        """Also notes whom to ask the next time."""
        answers = self._answers(self._ask)
        if not answers and self._ask != self._given:
            answers = self._answers(self._given)
        if not answers:
            raise NoPrimary(self._why_no_answer())
        latest = max(answers, key=lambda answer: answer.epoch)
        self._ask = list(latest.others) or self._given
        return latest.place

    def _why_no_answer(self) -> str:
        if self._know_nothing and self.url.is_cluster:
            return "no node of the Cluster knows who has the slot of the shard"
        if self._know_nothing:
            return f"the Sentinels know no primary called {self.url.master}"
        failure = f" ({self._failure})" if self._failure else ""
        return f"no {'node of the Cluster' if self.url.is_cluster else 'Sentinel'} answers{failure}"

    def _answers(self, places: Sequence[Place]) -> list[_Answer]:
        """Of those that answer in time, in the order of the places: where two are right, the same one is believed."""
        self._know_nothing, self._failure = False, ""
        found: dict[int, _Answer] = {}
        pool = ThreadPoolExecutor(len(places), thread_name_prefix="locate")
        asked = {pool.submit(self._answer, place): number for number, place in enumerate(places)}
        pool.shutdown(wait=False)
        waiting = set(asked)
        ends_at = monotonic() + FIRST_SECONDS
        while waiting and (seconds := ends_at - monotonic()) > 0:
            done, waiting = wait(waiting, seconds, FIRST_COMPLETED)
            for each in done:
                if answer := self._answer_in(each):
                    found[asked[each]] = answer
                    ends_at = min(ends_at, monotonic() + ASK_SECONDS)
        return [found[number] for number in sorted(found)]

    def _answer_in(self, done: Future[_Answer]) -> _Answer | None:
        try:
            return done.result()
        except (NoPermissionError, AuthenticationError) as error:
            self._failure = reason(error)
        except (ResponseError, LookupError, TypeError):
            self._know_nothing = True
        except (RedisError, OSError, ValueError) as error:  # it is away, or no Sentinel at all
            self._failure = self._failure or reason(error)
        return None

    def _answer(self, place: Place) -> _Answer:
        url = self.url
        user = (url.sentinel_username, url.sentinel_password) if url.master else (url.username, url.password)
        with redis.Redis(
            host=place.host,
            port=place.port,
            username=user[0],
            password=user[1],
            protocol=2,
            socket_timeout=ASK_SECONDS,
            socket_connect_timeout=ASK_SECONDS,
            retry=Retry(NoBackoff(), 0),
            ssl=url.is_tls,
            **tls_options(url),
        ) as client:
            return self._answer_of_node(client, place) if url.is_cluster else self._answer_of_sentinel(client)

    def _answer_of_sentinel(self, client: redis.Redis) -> _Answer:
        # The address is asked for by itself: the state has the old one for as long as a failover goes on.
        pipe: Any = client.pipeline(transaction=False)
        with pipe:
            pipe.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.url.master)
            pipe.execute_command("SENTINEL", "MASTER", self.url.master)
            (host, port), state = pipe.execute()
        fields = dict(zip(state[::2], state[1::2], strict=True))
        return _Answer(int(fields[b"config-epoch"]), Place(host.decode(), int(port)))

    def _answer_of_node(self, client: redis.Redis, node: Place) -> _Answer:
        pipe: Any = client.pipeline(transaction=False)
        with pipe:
            pipe.execute_command("CLUSTER", "SLOTS")
            pipe.execute_command("CLUSTER", "INFO")
            slots, info = pipe.execute()
        ranges = [(first, last, [_place(each, node) for each in nodes]) for first, last, *nodes in slots]
        primaries = [nodes[0] for first, last, nodes in ranges if first <= self._slot <= last]
        known = dict.fromkeys(node for *_, nodes in ranges for node in nodes)
        return _Answer(_epoch(info), primaries[0], list(known))  # a LookupError where no node has the slot


def tls_options(url: RedisURL) -> dict[str, Any]:
    """What redis-py's connections take for the TLS of a URL."""
    options: dict[str, Any] = dict(url.tls)
    if "ssl_check_hostname" in options:
        options["ssl_check_hostname"] = options["ssl_check_hostname"].lower() == "true"
    return options


def _place(node: Sequence[Any], asked: Place) -> Place:
    """A node of CLUSTER SLOTS. One that should have a name and has none (`?`) is at its address, which is among what
    else is known of it; one of which nothing is known is where the asked one is."""
    host, port, _, *others = node
    if host == b"?":
        flat = others[0] if others else []
        host = dict(zip(flat[::2], flat[1::2], strict=True)).get(b"ip")
    return Place(host.decode() if host else asked.host, int(port))


def _epoch(info: bytes) -> int:
    fields = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    return int(fields["cluster_current_epoch"])


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
