"""The settings of a process: addresses, limits and deadlines, each an environment variable."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any
from urllib.parse import urlsplit


def _setting(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits and deadlines. Each is the environment variable `CALLBOX_` + its name in upper case."""

    redis_url: str = _setting("redis://127.0.0.1:6379/0", "Redis or Valkey: the inbox, and Celery's broker")
    database_url: str = _setting("postgresql://127.0.0.1:5432/callbox", "PostgreSQL, as libpq reads it")
    body_limit_bytes: int = _setting(256 * 1024, "largest body of a callback; a provider's own limit may be smaller")
    body_seconds: float = _setting(10.0, "time for a provider to send its body")
    head_limit_bytes: int = _setting(64 * 1024, "largest head of a request, and largest framing of a chunked body")
    header_limit: int = _setting(100, "headers of a request, at most")
    head_seconds: float = _setting(10.0, "time for a caller to send the head of a request, from its first byte")
    answer_seconds: float = _setting(10.0, "time for a caller to read an answer; then its connection is ended")
    idle_seconds: float = _setting(75.0, "time between two requests of a connection; longer than a proxy's")
    connection_limit: int = _setting(
        4096, "open connections of one ingress, below its limit of descriptors in any case"
    )
    address_connection_limit: int = _setting(512, "of those from one address (IPv6: one /64), trusted proxies aside")
    unproven_bytes: int = _setting(16 * 1024 * 1024, "memory of one ingress for requests that are not there in whole")
    stop_seconds: float = _setting(15.0, "time in which an ingress that is asked to stop has ended")
    trusted_proxies: str = _setting("", "networks (CIDR) of the proxies whose X-Forwarded-For is believed")
    admin_bind: str = _setting("", "HOST:PORT for /healthz, /readyz and /metrics alone; else with the callbacks")
    append_seconds: float = _setting(0.25, "longest wait for Redis to take a group of callbacks; then the spool does")
    spool_dir: str = _setting("spool", "folder of the spool, of all ingresses of one host")
    spool_bytes: int = _setting(1024 * 1024 * 1024, "largest spool file of one ingress")
    retry_after_seconds: int = _setting(5, "what a 503 asks the provider to wait")
    group_count: int = _setting(500, "callbacks in one append, at most")
    group_bytes: int = _setting(1024 * 1024, "bytes in one append, at most (or one callback)")
    inbox_limit: int = _setting(2_000_000, "callbacks in the inbox beyond which it is full")
    batch_count: int = _setting(500, "callbacks in one transaction, at most")
    batch_bytes: int = _setting(8 * 1024 * 1024, "bytes of callbacks in one transaction, at most (or one callback)")
    drain_seconds: float = _setting(30.0, "time after which a drain hands over to the next")
    linger_seconds: float = _setting(0.05, "how long a drain waits on an empty inbox before it ends")
    beat_seconds: float = _setting(5.0, "time between two doorbells of beat")
    reclaim_seconds: float = _setting(15.0, "a claim not renewed for so long is another worker's to take")
    statement_seconds: float = _setting(10.0, "longest statement in PostgreSQL")
    stall_seconds: float = _setting(20.0, "a worker that stands still for so long while callbacks wait is restarted")
    log_level: str = _setting("info", "debug, info, warning or error")

    @property
    def proxy_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of `trusted_proxies`. Raises ValueError."""
        return tuple(ip_network(word) for word in self.trusted_proxies.replace(",", " ").split())

    @property
    def admin_address(self) -> tuple[str, int] | None:
        """Host and port of `admin_bind`; None without one. Raises ValueError."""
        if not self.admin_bind:
            return None
        host, _, port = self.admin_bind.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError("must be HOST:PORT, for example 127.0.0.1:8001")
        return host.removeprefix("[").removesuffix("]"), int(port)


def read_settings(environ: Mapping[str, str], mistakes: list[str]) -> Settings:
    """The settings in the environment. Adds one sentence to `mistakes` for each that cannot be used."""
    given: dict[str, Any] = {}
    for setting in fields(Settings):
        name = f"CALLBOX_{setting.name.upper()}"
        text = environ.get(name, "").strip()
        if not text:
            continue
        if setting.type is str:
            given[setting.name] = text
            continue
        try:
            number = int(text) if setting.type is int else float(text)
        except ValueError:
            kind = "a whole number" if setting.type is int else "a number"
            mistakes.append(f"{name}: {text!r} is not {kind} ({setting.metadata['meaning']})")
            continue
        if 0 < number < float("inf"):
            given[setting.name] = number
        else:
            mistakes.append(f"{name}: {text} must be above 0 and finite ({setting.metadata['meaning']})")
    settings = Settings(**given)
    for name, url in (("CALLBOX_REDIS_URL", settings.redis_url), ("CALLBOX_DATABASE_URL", settings.database_url)):
        try:
            _ = urlsplit(url).port
        except ValueError as error:
            mistakes.append(f"{name}: is no URL: {error}")
    if not settings.redis_url.startswith(("redis://", "rediss://")):
        mistakes.append("CALLBOX_REDIS_URL: must begin with redis:// or rediss://")
    if not settings.database_url.startswith(("postgresql://", "postgres://")):
        mistakes.append("CALLBOX_DATABASE_URL: must begin with postgresql://")
    for name, value in (("TRUSTED_PROXIES", "proxy_networks"), ("ADMIN_BIND", "admin_address")):
        try:
            getattr(settings, value)
        except ValueError as error:
            mistakes.append(f"CALLBOX_{name}: {error}")
    if settings.log_level not in ("debug", "info", "warning", "error"):
        mistakes.append(f"CALLBOX_LOG_LEVEL: {settings.log_level!r} is none of debug, info, warning, error")
    return settings
