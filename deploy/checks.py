"""`callbox check`: what is wrong, and what is risky, about a configuration and the servers it names."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import psycopg

from shared.config import SHORT_SECRET_BYTES, Config
from shared.inbox import RedisUnavailable, connect, read_server
from shared.source import Source
from workers import schema

OLDEST_POSTGRES = 150_000  # 15.0, as PostgreSQL counts
OLDEST_REDIS = (7, 0)


class Finding(NamedTuple):
    """`wrong` breaks a promise; `risky` works, but somebody should have decided it; `good` is as it should be."""

    level: Literal["good", "risky", "wrong"]
    what: str
    say: str


def check(config: Config) -> Iterator[Finding]:
    """Everything there is to say, the sources first."""
    for source in config.sources.values():
        yield from _check_source(source)
    yield from _check_redis(config.settings.redis_url)
    yield from _check_postgres(config.settings.database_url)


def _check_source(source: Source) -> Iterator[Finding]:
    what = f"source {source.name}"
    findings = []
    for number, secret in enumerate(source.secrets, 1):
        length = len(secret.encode())
        if length < SHORT_SECRET_BYTES:
            findings.append(f"secret {number} has {length} bytes; from {SHORT_SECRET_BYTES} on it is hard to guess")
    if source.token is not None and len(source.token) < SHORT_SECRET_BYTES:
        findings.append(f"the token has {len(source.token)} characters; take {SHORT_SECRET_BYTES} or more")
    if source.unsigned and not source.secrets and not source.token:
        findings.append("accepts anyone's callbacks (`unsigned = true`)")
    yield from (Finding("risky", what, say) for say in findings)
    if not findings:
        proof = [word for word, given in (("secrets", source.secrets), ("token", source.token)) if given]
        yield Finding("good", what, f"{source.provider}, proven by {' and '.join(proof)}")


def _check_redis(url: str) -> Iterator[Finding]:
    try:
        with connect(url, 5.0) as client:
            server = read_server(client)
    except RedisUnavailable as error:
        yield Finding("wrong", "Redis", f"{error}: is CALLBOX_REDIS_URL right?")
        return
    if tuple(map(int, server.version.split(".")[:2])) < OLDEST_REDIS:
        yield Finding("wrong", "Redis", f"{server.version} is too old; Callbox needs Redis 7.0 or Valkey 8")
    if server.settings is None:
        yield Finding("risky", "Redis", "does not show its settings (CONFIG is closed): see deploy/docker/redis.conf")
        return
    problems = [
        f"{name} is {server.settings.get(name)}: {why}; set it to {wanted}"
        for name, wanted, why in (
            ("appendonly", "yes", "a restart loses acknowledged callbacks"),
            ("appendfsync", "always", "a power failure loses acknowledged callbacks"),
            ("maxmemory-policy", "noeviction", "a full Redis throws callbacks away"),
        )
        if server.settings.get(name) != wanted
    ]
    yield from (Finding("wrong", "Redis", problem) for problem in problems)
    if not server.maxmemory_bytes:
        yield Finding("risky", "Redis", "has no maxmemory: a long backlog may take all the memory of its host")
    if not problems:
        yield Finding("good", "Redis", f"{server.version}, on disk before it answers")


def _check_postgres(url: str) -> Iterator[Finding]:
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            version = connection.info.server_version
            full = connection.execute("SELECT current_setting('server_version')").fetchone()
            fsync = connection.execute("SELECT current_setting('fsync')").fetchone()
            current = schema.is_current(connection)
    except psycopg.OperationalError as error:
        yield Finding("wrong", "PostgreSQL", f"does not answer ({said(error)}): is CALLBOX_DATABASE_URL right?")
        return
    if version < OLDEST_POSTGRES:
        yield Finding("wrong", "PostgreSQL", f"{full[0] if full else version} is too old; Callbox needs 15 or newer")
    if fsync != ("on",):
        yield Finding("wrong", "PostgreSQL", "fsync is off: a power failure loses stored callbacks")
    if not current:
        yield Finding("wrong", "PostgreSQL", "is not migrated: run `callbox migrate`")
    else:
        yield Finding("good", "PostgreSQL", f"{full[0] if full else version}, migrated")


def said(error: psycopg.Error) -> str:
    """The first line of what libpq said: the rest only asks whether the server is running."""
    return str(error).strip().partition("\n")[0].rstrip(":")
