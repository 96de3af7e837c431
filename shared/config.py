"""callbox.toml and the environment → Settings and Sources. Reports every mistake at once, and stops there.

Providers are passed in, because they stand above this file: it knows what may be configured, not who exists.
"""

import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from shared.visible import visible

T = TypeVar("T")

DEFAULT_PATH = Path("callbox.toml")
A2P_MAX_DIGITS = 8  # addresses of up to so many digits are short codes, hence A2P (emnify's own rule)
SHORT_SECRET_BYTES = 16  # shorter ones work, as providers hand them out, and `callbox check` warns

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_TOKEN = re.compile(r"[A-Za-z0-9._~-]+")
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class ConfigError(Exception):
    """The configuration cannot be used. `mistakes` has one sentence for each thing to mend."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class Option(NamedTuple):
    """A key that only one provider knows: the type its value must have, the value without one, and what it means.

    A `required` one is what signatures cannot be checked without: a source with secrets must have it. Texts may name
    environment variables.
    """

    type: type
    default: Any
    meaning: str
    required: bool = False


class Configurable(Protocol):
    """What the configuration asks of a provider."""

    SIGNS: bool
    TIMEZONE: str
    OPTIONS: Mapping[str, Option]


@dataclass(frozen=True, slots=True)
class Source:
    """A configured account of a provider: one URL, and what a callback to it must prove."""

    name: str
    provider: str
    secrets: tuple[str, ...] = field(default=(), repr=False)  # newest first
    token: str | None = field(default=None, repr=False)
    allow_ips: tuple[IPv4Network | IPv6Network, ...] = ()
    unsigned: bool = False
    timezone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    a2p_max_digits: int = A2P_MAX_DIGITS
    options: Mapping[str, Any] = field(default_factory=dict)


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


@dataclass(frozen=True, slots=True)
class Config:
    """All there is to configure, and the file it came from."""

    path: Path
    settings: Settings
    sources: Mapping[str, Source]
    variables: frozenset[str] = frozenset()  # of the environment, that the file reads with ${NAME}


def load(path: Path | None, environ: Mapping[str, str], providers: Mapping[str, Configurable]) -> Config:
    """Reads `path`, else `CALLBOX_CONFIG`, else ./callbox.toml. Raises ConfigError with every mistake in it."""
    path = path or Path(environ.get("CALLBOX_CONFIG") or DEFAULT_PATH)
    mistakes: list[str] = []
    settings = _read_settings(environ, mistakes)
    variables: set[str] = set()
    sources = _read_sources(path, environ, providers, mistakes, variables)
    if mistakes:
        raise ConfigError(mistakes)
    return Config(path, settings, sources, frozenset(variables))


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Only the environment, for what needs no sources. Raises ConfigError with every mistake in it."""
    mistakes: list[str] = []
    settings = _read_settings(environ, mistakes)
    if mistakes:
        raise ConfigError(mistakes)
    return settings


def or_exit(load_it: Callable[[], T]) -> T:
    """What `load_it` returns; on a ConfigError its mistakes on standard error, and exit 2."""
    try:
        return load_it()
    except ConfigError as error:
        for mistake in error.mistakes:
            print(visible(mistake), file=sys.stderr)
        raise SystemExit(2) from None


def _read_settings(environ: Mapping[str, str], mistakes: list[str]) -> Settings:
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


def _read_sources(
    path: Path,
    environ: Mapping[str, str],
    providers: Mapping[str, Configurable],
    mistakes: list[str],
    variables: set[str],
) -> dict[str, Source]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        mistakes.append(f"{path}: no such file here; name yours with CALLBOX_CONFIG, or --config of `callbox`")
        return {}
    except OSError as error:
        mistakes.append(f"{path}: cannot be read: {error.strerror}")
        return {}
    except UnicodeDecodeError as error:
        mistakes.append(f"{path}: is not UTF-8 (byte {error.start})")
        return {}
    except tomllib.TOMLDecodeError as error:
        mistakes.append(f"{path}: {error}")
        return {}
    for key in document.keys() - {"sources"}:
        mistakes.append(f"{path}: {key}: unknown key; a source is a table [sources.NAME]")
    tables = document.get("sources")
    if not isinstance(tables, dict) or not tables:
        mistakes.append(f"{path}: has no source; add a table [sources.NAME] with a provider")
        return {}
    sources: dict[str, Source] = {}
    for name, table in tables.items():
        reader = _TableReader(f"{path}: sources.{name}", table, environ)
        source = _read_source(name, reader, providers)
        mistakes.extend(reader.mistakes)
        variables |= reader.variables
        if source is not None:
            sources[name] = source
    return sources


def _read_source(name: str, table: "_TableReader", providers: Mapping[str, Configurable]) -> Source | None:
    if not _NAME.fullmatch(name):
        table.say("", "a name has up to 64 letters, digits, - and _, and begins with a letter or digit")
    word = table.take("provider", str, None)
    provider = providers.get(word) if isinstance(word, str) else None
    if provider is None:
        if not table.mistakes:
            said = f"{word!r} is none of" if word is not None else "is missing: one of"
            table.say("provider", f"{said} {', '.join(providers)}")
        return None
    secrets = tuple(table.texts("secrets"))
    token = table.text("token")
    unsigned = table.take("unsigned", bool, False)
    timezone = table.timezone("timezone", provider.TIMEZONE)
    digits = table.take("a2p_max_digits", int, A2P_MAX_DIGITS)
    networks = tuple(table.networks("allow_ips"))
    options = {key: table.option(key, option) for key, option in provider.OPTIONS.items()}
    table.refuse_the_rest()
    if token is not None and not _TOKEN.fullmatch(token):
        table.say("token", "may hold letters, digits and . _ ~ - only, since it stands in the URL")
    if not 0 <= digits <= 20:
        table.say("a2p_max_digits", f"{digits} is not between 0 and 20")
    if secrets and not provider.SIGNS:
        table.say("secrets", f"{word} signs nothing; use a token")
    if not (secrets or token or unsigned or table.is_wrong("secrets", "token")):
        table.say("", _no_proof(provider))
    return Source(name, str(word), secrets, token, networks, unsigned, timezone, digits, options)


def _no_proof(provider: Configurable) -> str:
    means = "secrets or a token" if provider.SIGNS else "a token"
    return f"nothing proves its callbacks: give {means} (or `unsigned = true` to accept anyone's)"


class _TableReader:
    """Takes typed values out of one table and remembers what was wrong with them, and which variables they name."""

    def __init__(self, place: str, table: object, environ: Mapping[str, str]) -> None:
        self.place = place
        self.mistakes: list[str] = []
        self.variables: set[str] = set()
        self._environ = environ
        self._left: dict[str, Any] = dict(table) if isinstance(table, dict) else {}
        self._has_secrets = bool(self._left.get("secrets"))
        if not isinstance(table, dict):
            self.say("", "must be a table")

    def say(self, key: str, mistake: str) -> None:
        self.mistakes.append(f"{self.place}{'.' if key else ''}{key}: {mistake}")

    def is_wrong(self, *keys: str) -> bool:
        """Whether something was said about one of these: its value is none then, but somebody meant one."""
        return any(mistake.startswith(f"{self.place}.{key}") for mistake in self.mistakes for key in keys)

    def take(self, key: str, kind: type, default: Any) -> Any:
        value = self._left.pop(key, default)
        if value is default or type(value) is kind or (kind is float and type(value) is int):
            return value
        self.say(key, f"must be {_KINDS.get(kind, kind.__name__)}")
        return default

    def text(self, key: str) -> str | None:
        value = self.take(key, str, None)
        return None if value is None else self._resolve(key, value)

    def option(self, key: str, option: Option) -> Any:
        if option.required and key not in self._left and self._has_secrets:
            self.say(key, f"is missing: {option.meaning}")
        if option.type is not str:
            value = self.take(key, option.type, option.default)
            if option.type is int and value is not None and value < 0:
                self.say(key, f"{value} must not be below 0")
            return value
        text = self.text(key)
        return option.default if text is None else text

    def texts(self, key: str) -> Iterator[str]:
        for index, value in enumerate(self.take(key, list, [])):
            if not isinstance(value, str):
                self.say(f"{key}[{index}]", "must be a text")
                continue
            resolved = self._resolve(f"{key}[{index}]", value)
            if resolved is not None:
                yield resolved

    def networks(self, key: str) -> Iterator[IPv4Network | IPv6Network]:
        for text in self.texts(key):
            try:
                yield ip_network(text)
            except ValueError as error:
                self.say(key, f"{error}; write it as 192.0.2.0/24")

    def timezone(self, key: str, default: str) -> ZoneInfo:
        name = self.take(key, str, default)
        try:
            return ZoneInfo(name)
        except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
            self.say(key, f"{name!r} is no time zone; write it as Asia/Shanghai")
            return ZoneInfo(default)

    def refuse_the_rest(self) -> None:
        for key in self._left:
            self.say(key, "unknown key")

    def _resolve(self, key: str, text: str) -> str | None:
        """The text with each ${NAME} read from the environment; None, and a mistake, without a value."""
        names = _REFERENCE.findall(text)
        self.variables.update(names)
        unset = [name for name in names if not self._environ.get(name)]
        for name in unset:
            self.say(key, f"the environment variable {name} is not set")
        broken = "${" in _REFERENCE.sub("", text)
        if broken:
            self.say(key, "has a ${ that is no reference; write it as ${NAME}, with letters, digits and _")
        resolved = _REFERENCE.sub(lambda found: self._environ.get(found[1], ""), text)
        if not resolved and not unset:
            self.say(key, "is empty")
        return None if unset or broken or not resolved else resolved


_KINDS = {
    str: "a text in quotes",
    bool: "true or false",
    int: "a whole number",
    list: "a list",
    float: "a number",
}
