"""The settings of a process: addresses, limits and deadlines, each an environment variable.

A setting carries its unit, its meaning and how its text is read; the rules between settings are in `RULES`.
`docs/configuration.md` is made of both (`deploy/reference.py`).
"""

import difflib
import re
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from shared.redis_url import ESCAPES, NOT_IN_URL, parse_redis_url, parse_redis_urls

Networks = tuple[IPv4Network | IPv6Network, ...]

LOG_LEVELS = ("debug", "info", "warning", "error")
LONGEST_LINGER_SECONDS = 2.0  # less than a worker waits for any answer of Redis

# What `callbox up` writes for who uses it.
_OTHERS = {
    *("CALLBOX_CONFIG", "CALLBOX_URL", "CALLBOX_ADMIN_URL"),
    *("CALLBOX_WORKER_ADMIN_URL", "CALLBOX_BEAT_ADMIN_URL"),
}
_OF_KUBERNETES = re.compile(r"_SERVICE_(HOST|PORT)(_|$)|_PORT(_[0-9]+_(TCP|UDP|SCTP)(_[A-Z]+)?)?$")


def _setting(default: Any, unit: str, meaning: str, read: Callable[[str], Any], since: str = "0.1.0") -> Any:
    """`unit` is the unit of a number or the form of a text. `read` raises ValueError with what to write instead."""
    return field(default=default, metadata={"unit": unit, "meaning": meaning, "read": read, "since": since})


def _number(default: float, unit: str, meaning: str) -> Any:
    return _setting(default, unit, meaning, read_whole if type(default) is int else read_decimal)


def read_whole(text: str) -> int:
    """A whole number above 0. Raises ValueError."""
    try:
        number = int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None
    if number <= 0:
        raise ValueError(f"{number} must be above 0")
    return number


def read_count(text: str) -> int:
    """A whole number, 0 or above. Raises ValueError."""
    if text.strip("0") == "":
        return 0
    try:
        return read_whole(text)
    except ValueError as error:
        raise ValueError(str(error).replace("above 0", "0 or above")) from None


def read_decimal(text: str) -> float:
    """A finite number above 0. Raises ValueError."""
    number = _read_number(text)
    if not 0 < number < float("inf"):
        raise ValueError(f"{number} must be above 0 and finite")
    return number


def read_linger(text: str) -> float:
    """A finite number above 0, within which Redis answers a worker in any case. Raises ValueError."""
    if (number := read_decimal(text)) > LONGEST_LINGER_SECONDS:
        raise ValueError(f"{number:g} must be {LONGEST_LINGER_SECONDS:g} or less")
    return number


def read_duration(text: str) -> float:
    """A finite number, 0 or above. Raises ValueError."""
    number = _read_number(text)
    if not 0 <= number < float("inf"):
        raise ValueError(f"{number} must be 0 or above and finite")
    return number


def _read_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def read_url(*schemes: str, several_hosts: bool = False) -> Callable[[str], str]:
    """A reader of URLs with one of these schemes. Its ValueErrors show nothing of the URL: it may hold a password."""

    def read(text: str) -> str:
        if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        place, _, rest = text.partition("://")[2].partition("/")
        user, _, hosts = place.rpartition("@")
        hosts = hosts.partition("?")[0]
        try:
            if NOT_IN_URL.search(text) or "#" in text or "@" in user + rest or set("[]?") & set(user):
                raise ValueError
            for host in hosts.split(",") if several_hosts else [hosts]:
                _ = urlsplit(f"//{host}").port  # raises ValueError for what is no number
        except ValueError:
            raise ValueError(f"is not a URL; {ESCAPES}") from None
        return text

    return read


def read_choice(*words: str) -> Callable[[str], str]:
    """A reader of one of these words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is not one of {', '.join(words)}")
        return text

    return read


def read_networks(text: str) -> Networks:
    """Networks (CIDR), separated by commas or spaces. Raises ValueError."""
    try:
        return tuple(ip_network(word) for word in text.replace(",", " ").split())
    except ValueError as error:
        raise ValueError(f"{error}; for example 192.0.2.0/24") from None


def read_address(text: str) -> tuple[str, int]:
    """Host and port. Raises ValueError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port[:6]) > 65535:
        raise ValueError("must be HOST:PORT, for example 127.0.0.1:8001")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _checked(read: Callable[[str], object]) -> Callable[[str], str]:
    """A reader that keeps the text, once `read` accepts it."""

    def check(text: str) -> str:
        read(text)
        return text

    return check


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits and deadlines. Each is the environment variable `CALLBOX_` + its name in upper case."""

    redis_url: str = _setting(
        "redis://127.0.0.1:6379/0",
        "URL",
        "Redis or Valkey: the inbox; several, separated by blanks, are its shards",
        _checked(parse_redis_urls),
    )
    broker_url: str = _setting(
        "", "URL", "the Redis where Celery lives; without one, the (first) one of the inbox", _checked(parse_redis_url)
    )
    inbox_shards: int = _number(1, "shards", "shards of the inbox, at least one for each Redis that is named")
    redis_wait_replicas: int = _setting(
        0,
        "replicas",
        "replicas of Redis that must have a callback on their disks before it is answered; 0 waits for none",
        read_count,
    )
    database_url: str = _setting(
        "postgresql://127.0.0.1:5432/callbox",
        "URL",
        "PostgreSQL, as libpq reads it; of several hosts, the one that takes writes",
        read_url("postgresql", "postgres", several_hosts=True),
    )
    body_limit_bytes: int = _number(
        256 * 1024, "bytes", "largest body of a callback; a provider's own limit may be smaller"
    )
    body_seconds: float = _number(10.0, "seconds", "time for a provider to send its body")
    head_limit_bytes: int = _number(
        64 * 1024, "bytes", "largest head of a request, and largest framing of a chunked body"
    )
    header_limit: int = _number(100, "headers", "headers of a request, at most")
    head_seconds: float = _number(
        10.0, "seconds", "time for a caller to send the head of a request, from its first byte"
    )
    answer_seconds: float = _number(
        10.0, "seconds", "time for a caller to read an answer; then its connection is ended"
    )
    idle_seconds: float = _number(75.0, "seconds", "time between two requests of a connection; longer than a proxy's")
    connection_limit: int = _number(
        4096, "connections", "open connections of one ingress, below its limit of descriptors in any case"
    )
    address_connection_limit: int = _number(
        512, "connections", "open connections of one ingress from one address (IPv6: one /64), trusted proxies aside"
    )
    unproven_bytes: int = _number(
        16 * 1024 * 1024, "bytes", "memory of one ingress for requests that have not arrived whole"
    )
    stop_grace_seconds: float = _setting(
        0.0,
        "seconds",
        "time for which an ingress that is asked to stop still takes callbacks, while /readyz answers 503; 0"
        " takes none, and `callbox up` always has 0",
        read_duration,
    )
    stop_seconds: float = _number(15.0, "seconds", "time in which an ingress ends once it takes no more callbacks")
    trusted_proxies: str = _setting(
        "", "networks (CIDR)", "the proxies whose X-Forwarded-For is believed", _checked(read_networks)
    )
    admin_bind: str = _setting(
        "",
        "HOST:PORT",
        "where this process answers /healthz and /metrics, and an ingress /readyz; without one an ingress answers them"
        " beside the callbacks, a worker and beat not at all",
        _checked(read_address),
    )
    append_seconds: float = _number(
        0.25, "seconds", "longest wait for Redis to take a group of callbacks; then the spool takes it"
    )
    move_seconds: float = _number(
        5.0, "seconds", "longest wait for Redis to take a group from the spool, which then shrinks"
    )
    connect_seconds: float = _number(
        2.0, "seconds", "longest wait of the ingress for a new connection to Redis; an append does not wait for it"
    )
    spool_dir: str = _setting("spool", "folder", "the spool of all ingresses of one host; on a disk that survives", str)
    spool_bytes: int = _number(1024 * 1024 * 1024, "bytes", "largest spool file of one ingress; then 503")
    retry_after_seconds: int = _number(5, "seconds", "what a 503 asks the provider to wait")
    group_count: int = _number(500, "callbacks", "callbacks in one append, at most")
    group_bytes: int = _number(1024 * 1024, "bytes", "bytes in one append, at most (or one callback)")
    inbox_limit: int = _number(2_000_000, "callbacks", "callbacks in the inbox beyond which it is full")
    quarantine_requests: int = _setting(
        10_000,
        "requests",
        "refused requests that are kept for each source, to be proven later; 0 keeps none",
        read_count,
    )
    quarantine_bytes: int = _number(
        64 * 1024 * 1024, "bytes", "room of the refused requests that are kept for each source; the oldest go"
    )
    quarantine_hours: int = _number(72, "hours", "how long a refused request is kept")
    batch_count: int = _number(500, "callbacks", "callbacks in one transaction, at most")
    batch_bytes: int = _number(
        8 * 1024 * 1024, "bytes", "bytes of callbacks in one transaction, at most (or one callback)"
    )
    drain_seconds: float = _number(30.0, "seconds", "time after which a drain hands over to the next")
    linger_seconds: float = _setting(
        0.05, "seconds", "how long a drain waits on an empty inbox before it ends; up to 2", read_linger
    )
    beat_seconds: float = _number(5.0, "seconds", "time between two looks of beat at what waits, to ring for it")
    reclaim_seconds: float = _number(
        15.0, "seconds", "another worker takes over a claim that was not renewed for this time"
    )
    statement_seconds: float = _number(10.0, "seconds", "longest statement in PostgreSQL")
    stall_seconds: float = _number(
        20.0, "seconds", "a worker that does nothing for this time while callbacks wait is restarted"
    )
    log_level: str = _setting("info", ", ".join(LOG_LEVELS), "what is logged, and above", read_choice(*LOG_LEVELS))

    @property
    def shard_urls(self) -> list[str]:
        """The URL of each shard's Redis, in the order of their numbers."""
        urls = self.redis_url.split()
        return [urls[number % len(urls)] for number in range(max(self.inbox_shards, len(urls)))]

    @property
    def shard_count(self) -> int:
        """How many shards there are."""
        return len(self.shard_urls)

    @property
    def celery_url(self) -> str:
        """Where Celery lives."""
        return self.broker_url or self.redis_url.split()[0]

    @property
    def proxy_networks(self) -> Networks:
        """The networks of `trusted_proxies`. Raises ValueError."""
        return read_networks(self.trusted_proxies)

    @property
    def admin_address(self) -> tuple[str, int] | None:
        """Host and port of `admin_bind`; None without one. Raises ValueError."""
        return read_address(self.admin_bind) if self.admin_bind else None


class Rule(NamedTuple):
    """A rule between two settings: `larger` is at least `times` as much as `smaller`."""

    larger: str
    times: float
    smaller: str
    why: str

    def mistake(self, settings: Settings) -> str | None:
        """What to write instead; None when the rule is kept."""
        value, other = getattr(settings, self.larger), getattr(settings, self.smaller)
        if value >= self.times * other:
            return None
        return (
            f"{variable(self.larger)}: {value} is too small beside {variable(self.smaller)}={other};"
            f" write {self.times * other:.12g} or more ({self.why})"
        )


RULES = (
    Rule("reclaim_seconds", 1.5, "statement_seconds", "a claim must outlast the statement that stores it"),
    Rule("stall_seconds", 2, "statement_seconds", "a worker that waits for PostgreSQL does nothing for two statements"),
    Rule("stall_seconds", 2, "beat_seconds", "a worker whose doorbell was lost waits for the next one of beat"),
    Rule("drain_seconds", 1, "linger_seconds", "a drain must not end while it waits for the first callback"),
    Rule("inbox_limit", 1, "group_count", "the inbox must have room for one append"),
    Rule("spool_bytes", 2, "group_bytes", "the spool must have room for one append, and for its own pages"),
    Rule("quarantine_bytes", 2, "body_limit_bytes", "one refused request must fit"),
    Rule("unproven_bytes", 2, "body_limit_bytes", "one request must fit, body and head"),
    Rule("unproven_bytes", 2, "head_limit_bytes", "one request must fit, body and head"),
)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"CALLBOX_{name.upper()}"


def read_settings(environ: Mapping[str, str], mistakes: list[str]) -> Settings:
    """The settings in the environment. Adds one sentence to `mistakes` for each that cannot be used."""
    given: dict[str, Any] = {}
    wrong: set[str] = set()
    for setting in fields(Settings):
        text = environ.get(variable(setting.name), "").strip()
        if not text:
            continue
        try:
            given[setting.name] = setting.metadata["read"](text)
        except ValueError as error:
            wrong.add(setting.name)
            mistakes.append(f"{variable(setting.name)}: {error} ({setting.metadata['meaning']})")
    settings = Settings(**given)
    mistakes.extend(_broken_rules(settings, wrong))
    return settings


def _broken_rules(settings: Settings, wrong: set[str]) -> Iterator[str]:
    """A mistake for each broken rule, except between settings that are `wrong` by themselves."""
    if not {"redis_url", "broker_url", "inbox_shards"} & wrong:
        yield from _mistakes_of_shards(settings)
    for rule in RULES:
        if not {rule.larger, rule.smaller} & wrong and (mistake := rule.mistake(settings)):
            yield mistake


def _mistakes_of_shards(settings: Settings) -> Iterator[str]:
    named = len(settings.redis_url.split())
    if 1 < settings.inbox_shards < named:
        yield (
            f"{variable('inbox_shards')}: {settings.inbox_shards} is fewer than the {named} Redis that"
            f" {variable('redis_url')} names; write {named} or more, or leave it out"
        )
    if parse_redis_url(settings.celery_url).is_cluster:
        which = "broker_url" if settings.broker_url else "redis_url"
        yield (
            f"{variable(which)}: Celery cannot live in a Cluster; write the URL of a Redis of its own into"
            f" {variable('broker_url')}"
        )


def unknown_variables(environ: Mapping[str, str], known: Container[str]) -> Iterator[str]:
    """A mistake for each `CALLBOX_` variable that is neither a setting nor `known`: a misspelled one would be ignored.

    Kubernetes adds some of a service named callbox (`CALLBOX_PORT`, `CALLBOX_SERVICE_HOST`): they are left alone.
    """
    ours = {variable(setting.name) for setting in fields(Settings)} | _OTHERS
    for name in sorted(name for name in environ if name.startswith("CALLBOX_")):
        if name not in ours and name not in known and not _OF_KUBERNETES.search(name):
            near = difflib.get_close_matches(name, ours, 1, 0.8)
            means = f"did you mean {near[0]}?" if near else "docs/configuration.md lists those that are known"
            yield f"{name}: unknown variable; {means}"
