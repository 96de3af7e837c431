"""What is known of the Redis behind the inbox."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from shared.inbox.client import Shard, text_of
from shared.inbox.errors import or_unavailable


class Server(NamedTuple):
    """A Redis or Valkey server. `settings` is None where it does not show them (CONFIG is closed)."""

    version: str
    maxmemory_bytes: int
    settings: Mapping[str, str] | None
    is_cluster: bool = False
    is_replica: bool = False
    has_append_only_file: bool = True
    has_failed_to_write: bool = False
    replicas: int = 0


def read_server(shard: Shard) -> Server:
    """The server that this client is connected to. Raises redis-py's errors."""
    info: Any = shard.info()
    return Server(
        str(info.get("valkey_version") or info["redis_version"]),
        int(info.get("maxmemory") or 0),
        _settings(shard),
        is_cluster=bool(info.get("cluster_enabled")),
        is_replica=info.get("role") == "slave",
        has_append_only_file=bool(info.get("aof_enabled")),
        has_failed_to_write=info.get("aof_last_write_status") == "err",
        replicas=int(info.get("connected_slaves") or 0),
    )


@or_unavailable
def used_memory(shard: Shard) -> tuple[int, int]:
    """The bytes in use, and the most that it may use, 0 without a limit. Raises RedisUnavailable."""
    info: Any = shard.info("memory")
    return int(info["used_memory"]), int(info.get("maxmemory") or 0)


def _settings(shard: Shard) -> dict[str, str] | None:
    try:
        found: Any = shard.config_get("*")
    except ResponseError:
        return None
    return {text_of(name): text_of(value) for name, value in found.items()}
