"""What is wrong, and what is risky, about a configuration and the servers that it names."""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

import psycopg

from deploy.system import ANSWER_SECONDS, open_inbox
from shared.config import SHORT_SECRET_BYTES, Config
from shared.inbox import RedisUnavailable, Server, read_server
from shared.source import Source
from workers import schema

OLDEST_POSTGRES = 150_000  # 15.0, as PostgreSQL counts
OLDEST_REDIS = (7, 0)

# What Redis must be set to, and what happens otherwise.
_NEEDED_SETTINGS = (
    ("appendonly", "yes", "a restart loses acknowledged callbacks"),
    ("appendfsync", "always", "a power failure loses acknowledged callbacks"),
    ("maxmemory-policy", "noeviction", "a full Redis evicts callbacks"),
)


_UNREAD_VARIABLE = re.compile(r"\$[A-Za-z_]\w*")


class Finding(NamedTuple):
    """`wrong` breaks a promise, `risky` works but deserves a decision, `good` needs nothing."""

    level: Literal["good", "risky", "wrong"]
    what: str
    sentence: str


def check(config: Config) -> Iterator[Finding]:
    """Everything that was found, the sources first."""
    yield from _check_file(config)
    for source in config.sources.values():
        yield from _check_source(source)
    yield from _check_redis(config.settings.redis_url)
    yield from _check_postgres(config.settings.database_url)


def _check_file(config: Config) -> Iterator[Finding]:
    """A file with secrets in it is its owner's."""
    if config.literal and config.path.stat().st_mode & 0o044:
        names = ", ".join(sorted(config.literal))
        sentence = f"holds secrets (of {names}) and others may read it: chmod 600, or use ${{NAME}} or file:"
        yield Finding("risky", str(config.path), sentence)


def _check_source(source: Source) -> Iterator[Finding]:
    what = f"source {source.name}"
    findings = []
    for number, secret in enumerate(source.secrets, 1):
        length = len(secret.encode())
        if length < SHORT_SECRET_BYTES:
            findings.append(f"secret {number} has {length} bytes; {SHORT_SECRET_BYTES} or more are hard to guess")
        if secret[0] == secret[-1] and secret[0] in "\"'`":
            findings.append(f"secret {number} has quotation marks around it, which count: are they meant?")
        if _UNREAD_VARIABLE.fullmatch(secret):
            findings.append(f"secret {number} looks like a variable; only ${{NAME}}, with braces, is read as one")
    if source.token is not None and len(source.token) < SHORT_SECRET_BYTES:
        findings.append(f"the token has {len(source.token)} characters; {SHORT_SECRET_BYTES} or more are hard to guess")
    if source.unsigned and not source.secrets and not source.token:
        findings.append("accepts anyone's callbacks (`unsigned = true`)")
    yield from (Finding("risky", what, sentence) for sentence in findings)
    if not findings:
        proof = [word for word, given in (("secrets", source.secrets), ("token", source.token)) if given]
        yield Finding("good", what, f"{source.provider}, proven by {' and '.join(proof)}")


def _check_redis(url: str) -> Iterator[Finding]:
    try:
        with open_inbox(url) as client:
            server = read_server(client)
    except RedisUnavailable as error:
        yield Finding("wrong", "Redis", f"{error}: is CALLBOX_REDIS_URL right?")
        return
    problems = list(_problems_of_redis(server))
    yield from (Finding("wrong", "Redis", problem) for problem in problems)
    if server.settings is None:
        yield Finding("risky", "Redis", "does not show its settings (CONFIG is closed): see deploy/docker/redis.conf")
    elif not server.maxmemory_bytes:
        yield Finding("risky", "Redis", "has no maxmemory: a long backlog may take all the memory of its host")
    if not problems and server.settings is not None:
        yield Finding("good", "Redis", f"{server.version}, on disk before it answers")


def _problems_of_redis(server: Server) -> Iterator[str]:
    if tuple(map(int, server.version.split(".")[:2])) < OLDEST_REDIS:
        yield f"{server.version} is too old; Callbox needs Redis 7.0 or Valkey 8"
    settings = server.settings
    if settings is not None:
        for name, wanted, why in _NEEDED_SETTINGS:
            if settings.get(name) != wanted:
                yield f"{name} is {settings.get(name)}: {why}; set it to {wanted}"


def _check_postgres(url: str) -> Iterator[Finding]:
    try:
        with psycopg.connect(url, connect_timeout=ANSWER_SECONDS) as connection:
            problems = list(_problems_of_postgres(connection))
            version = connection.info.parameter_status("server_version")
            is_complete = schema.is_complete(connection)
    except psycopg.OperationalError as error:
        yield Finding("wrong", "PostgreSQL", f"does not answer ({first_line(error)}): is CALLBOX_DATABASE_URL right?")
        return
    yield from (Finding("wrong", "PostgreSQL", problem) for problem in problems)
    if not problems and not is_complete:
        yield Finding("risky", "PostgreSQL", "once all processes are of this release, run `callbox migrate --after`")
    elif not problems:
        yield Finding("good", "PostgreSQL", f"{version}, migrated")


def _problems_of_postgres(connection: "psycopg.Connection[tuple[object, ...]]") -> Iterator[str]:
    if connection.info.server_version < OLDEST_POSTGRES:
        yield f"{connection.info.parameter_status('server_version')} is too old; Callbox needs 15 or newer"
    if connection.execute("SELECT current_setting('fsync')").fetchone() != ("on",):
        yield "fsync is off: a power failure loses stored callbacks"
    if not schema.is_current(connection):
        yield "is not migrated: run `callbox migrate`"


def first_line(error: psycopg.Error) -> str:
    """The first line of an error of libpq: the rest only asks whether the server is running."""
    return str(error).strip().partition("\n")[0].rstrip(":")
