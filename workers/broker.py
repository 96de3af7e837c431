"""Celery's connections to its broker: to the primary, wherever it is, by the same URLs and in the same way as those of
the inbox. kombu knows fewer URLs, keeps a connection to a server that takes no writes any more, and has no limit of
its own for one without such a setting.
"""

import ssl
from typing import Any

from kombu.connection import Connection as KombuConnection
from kombu.transport import TRANSPORT_ALIASES, redis

from shared.inbox import broker_options
from shared.redis_url import RedisURL, parse_redis_url

RECONNECT_SECONDS = 2.0  # longest pause between two tries to reach Redis
URL_OPTION = "callbox_secret_url"  # with a word in it by which Celery knows what it must not show of its settings
OPTIONS = {"visibility_timeout": 120, "socket_timeout": 30, "socket_connect_timeout": 2}


class Connection(KombuConnection):
    """Tries again every 2 s after an outage, not after up to 30 s."""

    def info(self) -> Any:
        """What Flower shows of it, without the options that have credentials: kombu leaves out the password only."""
        found: Any = super().info()  # type: ignore[no-untyped-call]
        found["transport_options"] = OPTIONS
        return found

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        patience = {"interval_start": 0.5, "interval_max": RECONNECT_SECONDS}
        return super().ensure_connection(*args, **(patience | kwargs))  # type: ignore[no-untyped-call]


class _Channel(redis.Channel):
    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        url = self.connection.client.transport_options.get(URL_OPTION)
        if url is None:  # another application of this process
            return dict(super()._connparams(asynchronous))  # type: ignore[no-untyped-call]
        options = broker_options(url)
        options["socket_timeout"] = self.socket_timeout
        options["socket_connect_timeout"] = self.socket_connect_timeout
        options["health_check_interval"] = self.health_check_interval
        if asynchronous:
            options["connection_class"] = _polled(self, options["connection_class"])
        return options


class Transport(redis.Transport):
    """kombu's own, over these connections."""

    Channel = _Channel


def _polled(channel: _Channel, connection_class: type[Any]) -> type[Any]:
    """Takes a connection out of the poller of its channel when it ends, as kombu's own classes do."""

    unpoll: Any = channel._on_connection_disconnect

    class Polled(connection_class):  # type: ignore[misc]
        def disconnect(self, *args: Any, **kwargs: Any) -> None:
            super().disconnect(*args, **kwargs)
            if channel._registered:
                unpoll(self)

    return Polled


# For whatever scheme `broker_url` has below.
TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss", "sentinel"), f"{__name__}:Transport"))


def settings_of(url: str) -> dict[str, Any]:
    """Celery's settings for a broker at this URL. `broker_url` is what Flower understands: of Sentinels the first."""
    parsed = parse_redis_url(url)
    return {
        "broker_url": _known_url(url, parsed),
        "broker_transport_options": {**OPTIONS, URL_OPTION: url, **_of_sentinels(parsed)},
        "broker_use_ssl": _tls(parsed),
    }


def _known_url(url: str, parsed: RedisURL) -> str:
    if parsed.path:
        return f"redis+socket://{parsed.path}"
    if parsed.master:
        host, port = parsed.hosts[0]
        user = url.partition("://")[2].rpartition("/")[0].rpartition("@")[0]
        return f"sentinel://{user + '@' if user else ''}{host}:{port}/{parsed.database}"
    scheme, _, place = url.partition("?")[0].partition("://")
    return f"{scheme}://{place.partition('/')[0]}/{parsed.database}"


def _of_sentinels(parsed: RedisURL) -> dict[str, Any]:
    if not parsed.master:
        return {}
    user = {"username": parsed.sentinel_username, "password": parsed.sentinel_password}
    return {"master_name": parsed.master, "sentinel_kwargs": user}


def _tls(parsed: RedisURL) -> dict[str, Any] | None:
    if not parsed.is_tls:
        return None
    needs = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
    given = {name: value for name, value in parsed.tls.items() if name.endswith(("certs", "certfile", "keyfile"))}
    return {**given, "ssl_cert_reqs": needs[parsed.tls.get("ssl_cert_reqs", "required")]}
