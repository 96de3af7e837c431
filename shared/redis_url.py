"""The URLs of Redis: one server, the primary that Sentinels name, or a Cluster; and several of them, for shards.

What is read here is the same for ingress, workers, beat, Flower and commands. No error shows anything of a URL but the
names of its parts: it may hold a password.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

SCHEMES = (
    *("redis", "rediss", "unix"),
    *("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"),
)
PORT, SENTINEL_PORT = 6379, 26379
# What a URL may have after its question mark, beside a path's `db`.
TLS_PARAMETERS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_SENTINEL_PARAMETERS = ("sentinel_username", "sentinel_password")
NOT_IN_URL = re.compile(r"[\x00-\x20\x7f]|%00|%(?![0-9A-Fa-f]{2})")
ESCAPES = "write /, ?, #, @, :, % and blanks of a password as %2F, %3F, %23, %40, %3A, %25, %20"


@dataclass(frozen=True, slots=True)
class RedisURL:
    """Where a Redis is. `hosts` are the server itself, Sentinels, or nodes of a Cluster; none for a socket (`path`).
    `master` is the name that Sentinels know it by."""

    hosts: tuple[tuple[str, int], ...]
    path: str = ""
    master: str = ""
    is_cluster: bool = False
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    is_tls: bool = False
    tls: Mapping[str, str] = field(default_factory=dict, hash=False)  # by TLS_PARAMETERS
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

    @property
    def place(self) -> str:
        """Where it is, for people."""
        hosts = ((f"[{host}]" if ":" in host else host, port) for host, port in self.hosts)
        return ",".join(f"{host}:{port}" for host, port in hosts) or self.path


def parse_redis_urls(text: str) -> list[RedisURL]:
    """The URLs in a text, which are separated by blanks; at least one. Raises ValueError."""
    words = text.split() or [text]
    if any("://" not in word for word in words[1:]):
        raise ValueError(f"is not a URL; {ESCAPES}")
    return [parse_redis_url(word) for word in words]


def parse_redis_url(text: str) -> RedisURL:
    """Raises ValueError with what is wrong, in the form of the end of a sentence about the URL."""
    scheme, _, rest = text.partition("://")
    if not rest or scheme not in SCHEMES:
        raise ValueError(f"must begin with one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    if NOT_IN_URL.search(text) or "#" in text:
        raise ValueError(f"is not a URL; {ESCAPES}")
    place, _, query = rest.partition("?")
    given = _parameters(query, scheme)
    netloc, _, path = place.partition("/")
    user, hosts = _split_user(netloc, path)
    username, _, password = user.partition(":")
    kind = scheme.partition("+")[2]
    return RedisURL(
        hosts=() if scheme == "unix" else tuple(_hosts(hosts, kind)),
        path=_socket(hosts, path) if scheme == "unix" else "",
        master=_master(path) if kind == "sentinel" else "",
        is_cluster=kind == "cluster",
        database=_database(given.pop("db", None), path, scheme, kind),
        username=unquote(username) or None,
        password=unquote(password) or None,
        is_tls=scheme.startswith("rediss"),
        sentinel_username=given.pop("sentinel_username", None),
        sentinel_password=given.pop("sentinel_password", None),
        tls=given,
    )


def _parameters(query: str, scheme: str) -> dict[str, str]:
    known = {"db"} | set(_SENTINEL_PARAMETERS if scheme.endswith("+sentinel") else ())
    known |= set(TLS_PARAMETERS if scheme.startswith("rediss") else ())
    if "@" in query:
        raise ValueError(f"is not a URL; {ESCAPES}")
    try:
        # A plus is one, as in front of the question mark: parse_qsl would read a blank.
        given = dict(parse_qsl(query.replace("+", "%2B"), keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise ValueError("has parameters that are not NAME=VALUE&NAME=VALUE") from None
    for name in given:
        if name not in known:
            raise ValueError(f"has a parameter that {scheme}:// does not know; it knows {', '.join(sorted(known))}")
    if given.get("ssl_cert_reqs", "required") not in ("none", "optional", "required"):
        raise ValueError("has a ssl_cert_reqs that is not none, optional or required")
    if given.get("ssl_check_hostname", "true").lower() not in ("true", "false"):
        raise ValueError("has a ssl_check_hostname that is not true or false")
    return given


def _split_user(netloc: str, path: str) -> tuple[str, str]:
    user, _, hosts = netloc.rpartition("@")
    if "@" in user + path or set("[]") & set(user) or user.count(":") > 1:
        raise ValueError(f"is not a URL; {ESCAPES}")
    return user, hosts


def _hosts(hosts: str, kind: str) -> list[tuple[str, int]]:
    if "," in hosts and not kind:
        raise ValueError("names several hosts: write redis+sentinel:// or redis+cluster://, or one URL for each shard")
    found = []
    for number, host in enumerate(hosts.split(","), 1):
        try:
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname, parts.port
            (name or "").encode("idna")  # as whoever looks it up, whose error does not name the host
        except ValueError:
            raise ValueError(f"is not a URL; {ESCAPES}") from None
        if name is None and (kind or port is not None):
            raise ValueError(f"has a host (number {number}) without a name")
        found.append((name or "localhost", port or (SENTINEL_PORT if kind == "sentinel" else PORT)))
    return found


def _socket(hosts: str, path: str) -> str:
    if hosts or not path:
        raise ValueError("must name the whole path of a socket: unix:///path/to/socket")
    return "/" + unquote(path)


def _master(path: str) -> str:
    name = path.partition("/")[0]
    if not name:
        raise ValueError("must end in the name by which Sentinels know the primary: …/MASTER or …/MASTER/DATABASE")
    return unquote(name)


def _database(parameter: str | None, path: str, scheme: str, kind: str) -> int:
    in_path = "" if scheme == "unix" else path.partition("/")[2] if kind == "sentinel" else path
    text = in_path.rstrip("/") if parameter is None else parameter
    if text and not text.isdecimal():
        raise ValueError("has a database that is not a number")
    if kind == "cluster" and int(text or 0):
        raise ValueError("has a database: a Cluster has only the database 0")
    return int(text or 0)
