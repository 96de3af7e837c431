"""What is known of the Redis behind the inbox, and whether its settings keep what it acknowledges."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from shared.inbox.client import Client, or_unavailable, text_of


class Server(NamedTuple):
    """A Redis or Valkey server. `settings` is None where it does not show them (CONFIG is closed)."""

    version: str
    maxmemory_bytes: int
    settings: Mapping[str, str] | None


@or_unavailable
def read_server(client: Client) -> Server:
    """The server that this client is connected to. Raises RedisUnavailable."""
    server: Any = client.info("server")
    memory: Any = client.info("memory")
    version = str(server.get("valkey_version") or server["redis_version"])
    return Server(version, int(memory.get("maxmemory") or 0), _settings(client))


def _settings(client: Client) -> dict[str, str] | None:
    try:
        found: Any = client.config_get("*")
    except ResponseError:
        return None
    return {text_of(name): text_of(value) for name, value in found.items()}
