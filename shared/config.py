"""callbox.toml and the environment → Settings and Sources. Reports every mistake at once.

Providers are passed in, because this file must not import them: it knows what may be configured, not who exists.
"""

import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from shared.env_file import beside, read_env_file
from shared.settings import Settings, read_settings, unknown_variables
from shared.small_file import BYTE_ORDER_MARK, Missing, Unreadable, read_small_file
from shared.source import KEYS, Configurable, Option, Source
from shared.visible import visible

T = TypeVar("T")

DEFAULT_PATH = Path("callbox.toml")
PROOF = frozenset({"secrets", "token", "allow_ips"})  # the keys that decide whose callbacks are taken
SHORT_SECRET_BYTES = 16  # shorter ones work, as providers hand them out, and `callbox check` warns

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_TOKEN = re.compile(r"[A-Za-z0-9._~-]+")
_FILE = "file:"
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class ConfigError(Exception):
    """The configuration cannot be used. `mistakes` has one sentence for each thing to fix."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Config:
    """All there is to configure, and the file it came from."""

    path: Path
    settings: Settings
    sources: Mapping[str, Source]
    variables: frozenset[str] = frozenset()  # that the file reads with ${NAME}, of the environment or of `.env`
    literal: frozenset[str] = frozenset()  # the sources with a secret or token that is in the file itself


def load(path: Path | None, environ: Mapping[str, str], providers: Mapping[str, Configurable]) -> Config:
    """Reads `path`, else `CALLBOX_CONFIG`, else ./callbox.toml. Raises ConfigError with every mistake in it.

    `${NAME}` is a variable of the environment, else of the file `.env` beside it.
    """
    path = path or path_in(environ)
    mistakes: list[str] = []
    settings = read_settings(environ, mistakes)
    tables = _read_tables(path, mistakes)
    readers = _readers(path, tables, environ, mistakes)
    sources = {name: _read_source(name, reader, providers) for name, reader in readers.items()}
    named = frozenset().union(*(reader.variables for reader in readers.values()))
    mistakes.extend(mistake for reader in readers.values() for mistake in reader.mistakes)
    mistakes.extend(unknown_variables(environ, named))
    if mistakes:
        raise ConfigError(mistakes)
    literal = frozenset(name for name, reader in readers.items() if reader.has_literal_secret)
    return Config(path, settings, {name: source for name, source in sources.items() if source}, named, literal)


def path_in(environ: Mapping[str, str]) -> Path:
    """The file that the environment names, else the usual one."""
    return Path(environ.get("CALLBOX_CONFIG") or DEFAULT_PATH)


def source_names(path: Path) -> list[str]:
    """The names of the sources in a file, whatever else is in it; none where it cannot be read."""
    return list(_read_tables(path, []))


def difference(before: Config, after: Config) -> Mapping[str, list[str]]:
    """The names of the sources that are `added`, `removed` and `changed`; empty when all are as they were."""
    old, new = before.sources, after.sources
    found = {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(name for name in new.keys() & old.keys() if new[name] != old[name]),
    }
    return {what: names for what, names in found.items() if names}


def load_to_read(
    path: Path | None, environ: Mapping[str, str], providers: Mapping[str, Configurable]
) -> Mapping[str, Source]:
    """The sources of the same file, only to read callbacks with that were proven already: their secrets, and the
    variables and files that hold them, are not needed for that. Raises ConfigError."""
    path = path or path_in(environ)
    mistakes: list[str] = []
    tables = _read_tables(path, mistakes)
    unproven = {
        name: {**{key: value for key, value in table.items() if key not in PROOF}, "unsigned": True}
        for name, table in tables.items()
        if isinstance(table, dict)
    }
    readers = _readers(path, unproven, environ, mistakes)
    sources = {name: _read_source(name, reader, providers) for name, reader in readers.items()}
    mistakes.extend(mistake for reader in readers.values() for mistake in reader.mistakes)
    if mistakes:
        raise ConfigError(mistakes)
    return {name: source for name, source in sources.items() if source}


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Only the environment, for what needs no sources. Raises ConfigError with every mistake in it."""
    mistakes: list[str] = []
    settings = read_settings(environ, mistakes)
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


def _read_tables(path: Path, mistakes: list[str]) -> Mapping[str, object]:
    """The tables of the file's sources; none, and a mistake, where it has none."""
    try:
        document = tomllib.loads(read_small_file(path).removeprefix(BYTE_ORDER_MARK))
    except Missing:
        mistakes.append(f"{path}: no such file here; name yours with CALLBOX_CONFIG, or --config of `callbox`")
        return {}
    except RecursionError:
        mistakes.append(f"{path}: is nested too deeply")
        return {}
    except (Unreadable, tomllib.TOMLDecodeError) as error:
        mistakes.append(f"{path}: {error}")
        return {}
    unknown = document.keys() - {"sources"}
    mistakes.extend(f"{path}: {key}: unknown key; a source is a table [sources.NAME]" for key in unknown)
    tables = document.get("sources")
    if not isinstance(tables, dict) or not tables:
        mistakes.append(f"{path}: has no source; add a table [sources.NAME] with a provider")
        return {}
    return tables


def _read_source(name: str, table: "_TableReader", providers: Mapping[str, Configurable]) -> Source | None:
    if not _NAME.fullmatch(name):
        table.report("", "a name has up to 64 letters, digits, - and _, and begins with a letter or digit")
    word = table.take("provider")
    provider = providers.get(word) if isinstance(word, str) else None
    if provider is None:
        if not table.mistakes:
            problem = f"{word!r} is not one of" if word is not None else "is missing: one of"
            table.report("provider", f"{problem} {', '.join(providers)}")
        return None
    secrets = tuple(table.secrets("secrets"))
    token = table.text("token")
    unsigned = table.take("unsigned")
    timezone = table.timezone("timezone", provider.TIMEZONE)
    digits = table.take("a2p_max_digits")
    networks = tuple(table.networks("allow_ips"))
    options = {key: table.option(key, option) for key, option in provider.OPTIONS.items()}
    table.refuse_the_rest([*KEYS, *provider.OPTIONS])
    if token is not None and not _TOKEN.fullmatch(token):
        table.report("token", "may hold letters, digits and . _ ~ - only, since it is a part of the URL")
    if not 0 <= digits <= 20:
        table.report("a2p_max_digits", f"{digits} is not between 0 and 20")
    if secrets and not provider.SIGNS:
        table.report("secrets", f"{word} signs nothing; use a token")
    if not (secrets or token or unsigned or table.is_wrong("secrets", "token")):
        table.report("", _no_proof(provider))
    return Source(name, str(word), secrets, token, networks, unsigned, timezone, digits, options)


def _no_proof(provider: Configurable) -> str:
    means = "secrets or a token" if provider.SIGNS else "a token"
    return f"nothing proves its callbacks: give {means} (or `unsigned = true` to accept anyone's)"


class _Variables:
    """What `${NAME}` may be: a variable of the environment, else of the file `.env`."""

    def __init__(self, environ: Mapping[str, str], env_file: Path, mistakes: list[str]) -> None:
        self._environ = environ
        found = read_env_file(env_file, mistakes)
        self._of_file = found or {}
        self._place = "" if found is None else f", nor is it in {env_file}"

    def get(self, name: str) -> str:
        """Its value; empty without one."""
        return self._environ.get(name) or self._of_file.get(name, "")

    def missing(self, name: str) -> str:
        """The mistake of who names a variable without a value."""
        return f"the environment variable {name} is not set{self._place}"


def _readers(
    path: Path, tables: Mapping[str, object], environ: Mapping[str, str], mistakes: list[str]
) -> dict[str, "_TableReader"]:
    variables = _Variables(environ, beside(path), mistakes)
    return {
        name: _TableReader(f"{path}: sources.{name}", table, variables, path.parent) for name, table in tables.items()
    }


class _TableReader:
    """Takes typed values out of one table and remembers what was wrong with them, and which variables they name."""

    def __init__(self, place: str, table: object, environ: _Variables, folder: Path) -> None:
        """`folder` is where a relative path of a file begins."""
        self.place = place
        self._folder = folder
        self.mistakes: list[str] = []
        self.variables: set[str] = set()
        self._environ = environ
        self._left: dict[str, Any] = dict(table) if isinstance(table, dict) else {}
        self._has_secrets = bool(self._left.get("secrets"))
        self.has_literal_secret = False
        if not isinstance(table, dict):
            self.report("", "must be a table")

    def report(self, key: str, mistake: str) -> None:
        self.mistakes.append(f"{self.place}{'.' if key else ''}{key}: {mistake}")

    def is_wrong(self, *keys: str) -> bool:
        """Whether one of these has a mistake: it has no value then, although somebody meant one."""
        return any(mistake.startswith(f"{self.place}.{key}") for mistake in self.mistakes for key in keys)

    def take(self, key: str, option: Option | None = None) -> Any:
        """The value of a key of every source, or of a provider's own `option`; its default where it is wrong."""
        option = option or KEYS[key]
        value = self._left.pop(key, option.default)
        if value is option.default or type(value) is option.type or (option.type is float and type(value) is int):
            return value
        self.report(key, f"must be {_KINDS[option.type]}")
        return option.default

    def text(self, key: str, option: Option | None = None) -> str | None:
        value = self.take(key, option)
        return None if value is None else self._resolve(key, value)

    def option(self, key: str, option: Option) -> Any:
        if option.required and key not in self._left and self._has_secrets:
            self.report(key, f"is missing: {option.meaning}")
        if option.type is not str:
            value = self.take(key, option)
            if option.type is int and value is not None and value < 0:
                self.report(key, f"{value} must not be below 0")
            return value
        text = self.text(key, option)
        if text is not None and option.problem is not None and (problem := option.problem(text)):
            self.report(key, problem)
        return option.default if text is None else text

    def texts(self, key: str) -> Iterator[str]:
        for index, value in enumerate(self.take(key)):
            if not isinstance(value, str):
                self.report(f"{key}[{index}]", "must be a text")
                continue
            resolved = self._resolve(f"{key}[{index}]", value)
            if resolved is not None:
                yield resolved

    def secrets(self, key: str) -> Iterator[str]:
        """Texts without what was copied along with them, which would make every signature wrong."""
        for index, text in enumerate(self.texts(key)):
            if text != text.strip() or "\ufeff" in text:
                self.report(f"{key}[{index}]", "begins or ends with a blank, a line break or a byte order mark")
            yield text

    def networks(self, key: str) -> Iterator[IPv4Network | IPv6Network]:
        for text in self.texts(key):
            try:
                yield ip_network(text)
            except ValueError as error:
                self.report(key, f"{error}; for example 192.0.2.0/24")

    def timezone(self, key: str, default: str) -> ZoneInfo:
        name = self.take(key)
        if name is None:
            return ZoneInfo(default)
        try:
            return ZoneInfo(name)
        except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
            self.report(key, f"{name!r} is no time zone; for example Asia/Shanghai")
            return ZoneInfo(default)

    def refuse_the_rest(self, known: Iterable[str]) -> None:
        for key in self._left:
            self.report(key, f"unknown key; known are {', '.join(known)}")

    def _resolve(self, key: str, text: str) -> str | None:
        """The text with the value of each ${NAME}, or what is in the file that a `file:` text names; None, and a
        mistake, without a value."""
        names = _REFERENCE.findall(text)
        if key.startswith(("secrets", "token")) and not (names or text.startswith(_FILE)):
            self.has_literal_secret = True
        self.variables.update(names)
        unset = [name for name in names if not self._environ.get(name)]
        for name in unset:
            self.report(key, self._environ.missing(name))
        broken = "${" in _REFERENCE.sub("", text)
        if broken:
            self.report(
                key, "has a ${ that does not begin a reference; write it as ${NAME}, with letters, digits and _"
            )
        resolved: str | None = _REFERENCE.sub(lambda found: self._environ.get(found[1]), text)
        if unset or broken:
            return None
        if resolved and resolved.startswith(_FILE):
            return self._read_file(key, self._folder / resolved.removeprefix(_FILE))
        if not resolved:
            self.report(key, "is empty")
        return resolved or None

    def _read_file(self, key: str, path: Path) -> str | None:
        """What a file holds, without the line break at its end; None, and a mistake, where it holds nothing."""
        try:
            text = read_small_file(path)
        except Unreadable as error:
            self.report(key, f"{path} {error}")
            return None
        text = text.removesuffix("\n").removesuffix("\r")
        if not text:
            self.report(key, f"{path} is empty")
        return text or None


_KINDS = {
    str: "a text in quotes",
    bool: "true or false",
    int: "a whole number",
    list: "a list",
    float: "a number",
}
