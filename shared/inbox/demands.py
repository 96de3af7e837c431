"""What Callbox demands of the Redis behind the inbox."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from redis.exceptions import NoPermissionError, OutOfMemoryError, ReadOnlyError, ResponseError

from shared.demands import Examined
from shared.inbox.client import Client, or_unavailable
from shared.inbox.keys import CHECK, GROUP, script
from shared.inbox.server import Server, read_server
from shared.outcomes import Outcome

OLDEST = (7, 0)

# What Redis must be set to, and what happens otherwise.
_SETTINGS = (
    ("appendonly", "yes", "a restart loses acknowledged callbacks"),
    ("appendfsync", "always", "a power failure loses acknowledged callbacks"),
    ("maxmemory-policy", "noeviction", "a full Redis evicts callbacks"),
)
RULES = "+@all -@dangerous +info +config|get ~*"  # for a user: Celery has keys of many names, beside Callbox's
_COMMAND = re.compile(r"run the '([\w|]+)' command")


@or_unavailable
def examine(client: Client) -> Examined:
    """The server that this client is connected to, tried with keys of the check's own. Raises RedisUnavailable."""
    try:
        server = read_server(client)
    except NoPermissionError as error:
        return Examined("", [_forbidden(error)])
    unmet = list(_unmet_by(server))
    if not (server.is_cluster or server.is_replica):
        unmet += _unmet_in_trial(client)
    return Examined(server.version, unmet, list(_risks_of(server)))


def _unmet_by(server: Server) -> Iterator[str]:
    if tuple(map(int, server.version.split(".")[:2])) < OLDEST:
        yield f"{server.version} is too old; Callbox needs Redis 7.0 or Valkey 8"
    if server.is_cluster:
        yield "is a node of a cluster, which spreads keys over its nodes: name a Redis that has all of them"
    if server.is_replica:
        yield "is a replica, which takes no writes: name its primary"
    if server.settings is None and not server.has_append_only_file:
        yield "has no append-only file: a restart loses acknowledged callbacks; set appendonly to yes"
    for name, wanted, why in _SETTINGS:
        if server.settings is not None and server.settings.get(name) != wanted:
            yield f"{name} is {server.settings.get(name)}: {why}; set it to {wanted}"
    if server.has_failed_to_write:
        yield "cannot write its append-only file: is its disk full?"


def _risks_of(server: Server) -> Iterator[str]:
    if server.settings is None:
        yield "does not show its settings (CONFIG is closed): see deploy/docker/redis.conf"
    elif not server.maxmemory_bytes:
        yield "has no maxmemory: a long backlog may take all the memory of its host"


def _unmet_in_trial(client: Client) -> Iterator[str]:
    """Takes a callback into an inbox made for this and out again, as ingress and workers do."""
    kinds = ("inbox", "ledger", "queue", "oddities", "kinds")
    inbox, ledger, queue, oddities, oddity_kinds = keys = [f"{CHECK}:{uuid4().hex}:{kind}" for kind in kinds]
    try:
        client.register_script(script("append"))(keys=[inbox, ledger, queue], args=[1000, 1, b"", "check", b""])
        client.xgroup_create(inbox, GROUP, id="0")
        client.xreadgroup(GROUP, "check", {inbox: ">"}, count=1)
        entries: Any = client.xrange(inbox, count=1)
        id = entries[0][0]
        client.xclaim(inbox, GROUP, "check", 0, [id], justid=True)
        acknowledged = [GROUP, 1, "", id, "check", Outcome.STORED, "", 0]
        client.register_script(script("acknowledge"))(keys=[inbox, ledger, oddities, oddity_kinds], args=acknowledged)
        client.delete(*keys)
    except OutOfMemoryError:
        pass  # full, as it may be for a while
    except ReadOnlyError:
        yield "takes no writes: name the primary"
    except NoPermissionError as error:
        yield _forbidden(error)
    except ResponseError as error:
        if not str(error).startswith("FULL "):
            yield f"does not run Callbox's scripts ({type(error).__name__}): is it a Redis or a Valkey, not a proxy?"


def _forbidden(error: NoPermissionError) -> str:
    command = _COMMAND.search(str(error))
    what = f"run {command[1].upper().replace('|', ' ')}" if command else "do what Callbox does"
    return f"its user may not {what}: give it `{RULES}` (ACL SETUSER)"
