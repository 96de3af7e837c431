"""What is known of the Redis behind the inbox."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from shared.inbox.client import Client, text_of


class Server(NamedTuple):
    """A Redis or Valkey server. `settings` is None where it does not show them (CONFIG is closed)."""

    version: str
    maxmemory_bytes: int
    settings: Mapping[str, str] | None
    is_cluster: bool = False
    is_replica: bool = False
    has_append_only_file: bool = True
    has_failed_to_write: bool = False


def read_server(client: Client) -> Server:
    """The server that this client is connected to. Raises redis-py's errors."""
    info: Any = client.info()
    return Server(
        str(info.get("valkey_version") or info["redis_version"]),
        int(info.get("maxmemory") or 0),
        _settings(client),
        is_cluster=bool(info.get("cluster_enabled")),
        is_replica=info.get("role") == "slave",
        has_append_only_file=bool(info.get("aof_enabled")),
        has_failed_to_write=info.get("aof_last_write_status") == "err",
    )


def _settings(client: Client) -> dict[str, str] | None:
    try:
        found: Any = client.config_get("*")
    except ResponseError:
        return None
    return {text_of(name): text_of(value) for name, value in found.items()}
