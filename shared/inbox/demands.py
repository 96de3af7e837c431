"""What Callbox demands of the Redis behind the inbox."""

import re
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

from redis.exceptions import NoPermissionError, OutOfMemoryError, ReadOnlyError, ResponseError

from shared.demands import Examined
from shared.inbox.client import Shard, are_apart, ask_each, sibling, text_of
from shared.inbox.errors import or_unavailable
from shared.inbox.keys import GROUP, Keys, script
from shared.inbox.server import Server, read_server
from shared.outcomes import Outcome
from shared.redis_url import RedisURL

OLDEST = (7, 0)
LEFT_SHARDS = 8  # numbers behind the last shard that are looked at: there may have been more
TRIAL_SECONDS = 60  # for which a trial that was interrupted leaves its keys
CONFIRM_MILLISECONDS = 1000  # for replicas to have something on disk

# What Redis must be set to, and what happens otherwise.
_SETTINGS = (
    ("appendonly", "yes", "a restart loses acknowledged callbacks"),
    ("appendfsync", "always", "a power failure loses acknowledged callbacks"),
    ("maxmemory-policy", "noeviction", "a full Redis evicts callbacks"),
)
RULES = "+@all -@dangerous +info +config|get +acl|dryrun ~*"  # for a user: Celery has keys of many names too

# Most versions of Redis and Valkey check the rights of the user `default` when they read a transaction of their
# append-only file, and leave it out without a word. What a script wrote is a transaction.
# https://github.com/redis/redis/issues/14541, https://github.com/valkey-io/valkey/issues/3983
_READS_AS_DEFAULT = "what it reads from its append-only file is checked against the rights of that user"
_RIGHTS_OF_DEFAULT = "give it `~* +@all` (ACL SETUSER default), on or off"
_COMMAND = re.compile(r"run the '([\w|]+)' command")


@or_unavailable
def examine(shards: Sequence[Shard], wait_replicas: int = 0) -> Examined:
    """The servers of these shards, each tried with keys of the check's own. Raises RedisUnavailable.

    `wait_replicas` is how many replicas must have a callback on their disks."""
    found = ask_each(shards, lambda shard: _examine(shard, wait_replicas))
    prefixes = [f"of shard {shard.names.number} " if are_apart(shards) else "" for shard in shards]
    unmet = [prefix + sentence for prefix, each in zip(prefixes, found, strict=True) for sentence in each.unmet]
    risks = [prefix + sentence for prefix, each in zip(prefixes, found, strict=True) for sentence in each.risks]
    if not unmet:
        unmet += _unmet_by_numbers(shards)
    versions = dict.fromkeys(each.version for each in found)
    return Examined(", ".join(versions), list(dict.fromkeys(unmet)), list(dict.fromkeys(risks)))


def _unmet_by_numbers(shards: Sequence[Shard]) -> Iterator[str]:
    """All processes must know the same shards, and no other one may have callbacks."""
    first = shards[0]
    noted: Any = first.hget(first.names.notes, "shards")
    if noted is not None and int(noted) != len(shards):
        yield (
            f"is cut into {int(noted)} shards by the workers, and into {len(shards)} here:"
            " set CALLBOX_INBOX_SHARDS alike"
        )
    by_url: dict[RedisURL, list[Shard]] = {}
    for shard in shards:
        by_url.setdefault(shard.url, []).append(shard)
    for url, neighbours in by_url.items():
        numbers = {shard.names.number for shard in neighbours}
        for number in sorted(set(range(len(shards) + LEFT_SHARDS)) - numbers):
            if waiting := _waiting_in(neighbours[0], number):
                yield f"has {waiting} callbacks in shard {number}, which is not configured" + (
                    ": raise CALLBOX_INBOX_SHARDS"
                    if number >= len(shards)
                    else f" to be at {url.place}: write the URLs of CALLBOX_REDIS_URL in the order that they had"
                )


def _waiting_in(neighbour: Shard, number: int) -> int:
    """What waits in the shard of this number, in the Redis of another one."""
    if not neighbour.url.is_cluster:
        return int(neighbour.xlen(Keys(number).inbox))
    with sibling(neighbour, number) as other:
        return int(other.xlen(other.names.inbox))


@or_unavailable
def _examine(shard: Shard, wait_replicas: int) -> Examined:
    try:
        server = read_server(shard)
    except NoPermissionError as error:
        return Examined("", [_forbidden(error)])
    unmet = list(_unmet_by(server, shard.url))
    if not unmet or not (server.is_replica or server.is_cluster):
        unmet += _unmet_in_trial(shard)
    if wait_replicas:
        unmet += _unmet_by_replicas(shard, server, wait_replicas)
    risks = list(_risks_of(server, shard.url, wait_replicas))
    may_write = _default_user_may_write(shard)
    if may_write is False:
        unmet.append(
            f"may lose acknowledged callbacks in a restart: its user `default` may not write them, and"
            f" {_READS_AS_DEFAULT}; {_RIGHTS_OF_DEFAULT}"
        )
    if may_write is None and shard.url.username not in (None, "default"):
        risks.append(
            f"does not show what its user `default` may do (ACL DRYRUN is closed), and {_READS_AS_DEFAULT};"
            f" {_RIGHTS_OF_DEFAULT}"
        )
    return Examined(server.version, unmet, risks)


def _default_user_may_write(shard: Shard) -> bool | None:
    """Whether the user `default` may change Callbox's keys. None where Redis does not answer that."""
    names = shard.names
    run: Any = shard.execute_command
    commands = [
        *(("XADD", names.inbox, "*", "a", "b"), ("XACK", names.inbox, GROUP, "0-1"), ("XDEL", names.inbox, "0-1")),
        *(("HSET", names.ledger, "a", "1"), ("HDEL", names.ledger, "a"), ("HINCRBY", names.ledger, "a", "1")),
    ]
    try:
        return all(text_of(run("ACL", "DRYRUN", "default", *words)) == "OK" for words in commands)
    except ResponseError:
        return None


def _unmet_by(server: Server, url: RedisURL) -> Iterator[str]:
    if tuple(map(int, server.version.split(".")[:2])) < OLDEST:
        yield f"{server.version} is too old; Callbox needs Redis 7.0 or Valkey 8"
    if server.is_cluster and not url.is_cluster:
        yield "is a node of a Cluster, which spreads keys over its nodes: write redis+cluster:// into its URL"
    if server.is_replica:
        yield "is a replica, which takes no writes: name its primary"
    if "appendonly" not in (server.settings or ()) and not server.has_append_only_file:
        yield "has no append-only file: a restart loses acknowledged callbacks; set appendonly to yes"
    for name, wanted, why in _SETTINGS:
        if server.settings is not None and server.settings.get(name, wanted) != wanted:
            yield f"{name} is {server.settings.get(name)}: {why}; set it to {wanted}"
    if server.has_failed_to_write:
        yield "cannot write its append-only file: is its disk full?"


def _unmet_by_replicas(shard: Shard, server: Server, wanted: int) -> Iterator[str]:
    """Writes a key, and asks who has it on disk."""
    key = f"{shard.names.check}:{uuid4().hex}"
    try:
        with shard.pipeline(transaction=False) as pipe:
            queue: Any = pipe.execute_command
            pipe.set(key, b"", ex=1)
            pipe.wait(wanted, CONFIRM_MILLISECONDS)
            queue("WAITAOF", 1, wanted, CONFIRM_MILLISECONDS)
            *_, (_, confirming) = pipe.execute()
    except NoPermissionError as error:
        yield _forbidden(error)
    except ResponseError as error:
        if server.replicas or "unknown command" in str(error):
            yield f"{server.version} cannot report what its replicas have on disk; Redis 7.2 and Valkey 8 can"
    else:
        if confirming < wanted:
            yield (
                f"has {server.replicas} replicas, of which {confirming} confirm that they have a callback on disk;"
                f" CALLBOX_REDIS_WAIT_REPLICAS is {wanted}: is appendonly yes on each?"
            )


def _risks_of(server: Server, url: RedisURL, wait_replicas: int) -> Iterator[str]:
    if (url.master or url.is_cluster) and not wait_replicas:
        yield (
            "may be replaced by a replica that lacks its latest callbacks:"
            " set CALLBOX_REDIS_WAIT_REPLICAS to 1 or more, or take that loss"
        )
    if 0 < wait_replicas < server.replicas:
        yield (
            f"has {server.replicas} replicas, of which {wait_replicas} must confirm: a failover by hand, or to one that"
            f" was cut off, may lose what only others have; set CALLBOX_REDIS_WAIT_REPLICAS to {server.replicas}"
        )
    if server.settings is None:
        yield "does not show its settings (CONFIG is closed): see deploy/docker/redis.conf"
    elif not server.maxmemory_bytes:
        yield "has no maxmemory: a long backlog may take all the memory of its host"


def _unmet_in_trial(shard: Shard) -> Iterator[str]:
    """Takes a callback into an inbox made for this and out again, as ingress and workers do."""
    kinds = ("inbox", "ledger", "heard", "oddities", "kinds", "retired", "writer")
    inbox, ledger, heard, oddities, oddity_kinds, retired, writer = keys = [
        f"{shard.names.check}:{uuid4().hex}:{kind}" for kind in kinds
    ]
    try:
        shard.register_script(script("append"))(
            keys=[inbox, ledger, heard, retired, writer], args=[1000, 1, 1, "check", b""]
        )
        for key in keys:  # should this not come to its end
            shard.expire(key, TRIAL_SECONDS)
        shard.xgroup_create(inbox, GROUP, id="0")
        shard.xreadgroup(GROUP, "check", {inbox: ">"}, count=1)
        entries: Any = shard.xrange(inbox, count=1)
        id = entries[0][0]
        shard.xclaim(inbox, GROUP, "check", 0, [id], justid=True)
        acknowledged = [GROUP, 1, "", id, "check", Outcome.STORED, "", 0]
        shard.register_script(script("acknowledge"))(keys=[inbox, ledger, oddities, oddity_kinds], args=acknowledged)
        shard.delete(*keys)
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
