"""What is wrong, and what is risky, about a configuration and the servers that it names."""

import re
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, NamedTuple

import psycopg

from deploy.system import ANSWER_SECONDS, open_inbox
from deploy.text import first_line
from ingress import spool
from ingress.spool import SpoolError
from shared import inbox
from shared.config import SHORT_SECRET_BYTES, Config
from shared.demands import Examined
from shared.env_file import beside, read_env_file
from shared.fingerprint import secret_labels
from shared.inbox import RedisUnavailable
from shared.settings import Settings
from shared.source import Source
from workers import demands
from workers.connection import connect

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
    yield from _check_admin(config.settings)
    yield from _check_redis(config.settings)
    if config.settings.broker_url:
        yield from _check_broker(config.settings)
    yield from _check_postgres(config.settings.database_url)
    yield from _check_spool(Path(config.settings.spool_dir))


def _check_file(config: Config) -> Iterator[Finding]:
    """Which one was read. A file with secrets in it is its owner's."""
    count = len(config.sources)
    yield Finding("good", str(config.path), f"{count} source{'' if count == 1 else 's'}")
    if config.literal and config.path.stat().st_mode & 0o044:
        names = ", ".join(sorted(config.literal))
        sentence = f"holds secrets (of {names}) and others may read it: chmod 600, or use ${{NAME}} or file:"
        yield Finding("risky", str(config.path), sentence)
    env_file = beside(config.path)
    values = read_env_file(env_file, []) or {}
    if config.variables & values.keys() and env_file.stat().st_mode & 0o044:
        yield Finding("risky", str(env_file), "holds secrets and others may read it: chmod 600")
    for name in sorted(values.keys() - config.variables):
        if name.startswith("CALLBOX_"):
            yield Finding(
                "risky", str(env_file), f"{name} has no effect here: settings are read from the environment only"
            )


def _check_source(source: Source) -> Iterator[Finding]:
    what = f"source {source.name}"
    findings = []
    names = secret_labels(source)
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
    if source.secrets or source.token:
        proofs = [*names[:1], *(f"{name} (older)" for name in names[1:]), *(["token"] if source.token else [])]
        yield Finding("good", what, f"{source.provider}, proven by {', '.join(proofs)}")


def _check_admin(settings: Settings) -> Iterator[Finding]:
    """The admin paths have no password."""
    host, port = settings.admin_address or ("127.0.0.1", 0)
    with suppress(ValueError):  # a name
        address = ip_address(host)
        if address.is_unspecified or address.is_global:
            sentence = f"{host} may be reached from outside: let only Prometheus and probes reach port {port}"
            yield Finding("risky", "CALLBOX_ADMIN_BIND", sentence)


def _check_redis(settings: Settings) -> Iterator[Finding]:
    try:
        with open_inbox(settings) as found:
            examined = inbox.examine(found.shards, settings.redis_wait_replicas)
    except RedisUnavailable as error:
        yield Finding("wrong", "Redis", f"{error}: is CALLBOX_REDIS_URL right?")
        return
    yield from _findings("Redis", examined, "on disk before it answers")


def _check_broker(settings: Settings) -> Iterator[Finding]:
    """Where it is a Redis of its own."""
    try:
        with open_inbox(settings) as found:
            inbox.ping(found.broker)
    except RedisUnavailable as error:
        yield Finding("wrong", "Celery's Redis", f"{error}: is CALLBOX_BROKER_URL right?")


def _check_postgres(url: str) -> Iterator[Finding]:
    try:
        with connect(url, connect_timeout=ANSWER_SECONDS) as connection:
            examined = demands.examine(connection)
    except psycopg.OperationalError as error:
        yield Finding("wrong", "PostgreSQL", f"does not answer ({first_line(error)}): is CALLBOX_DATABASE_URL right?")
        return
    yield from _findings("PostgreSQL", examined, "migrated")


def _check_spool(folder: Path) -> Iterator[Finding]:
    """Tries a row in it; a folder that is not there yet is made for that, and removed."""
    above, is_new = folder.absolute(), False
    try:
        above = next(each for each in folder.absolute().parents if each.exists())
        is_new = not folder.exists()
        made = spool.create(folder, spool.SMALLEST_BYTES)
        try:
            made.probe()
        finally:
            made.close()
    except SpoolError as error:
        yield Finding("wrong", "spool", f"{error}: let the ingress write there, or set CALLBOX_SPOOL_DIR")
    except PermissionError:
        sentence = f"{folder} may not be looked at: run this as the user of the ingress"
        yield Finding("risky", "spool", sentence)
    else:
        yield Finding("good", "spool", f"{folder} takes callbacks while Redis is away")
    while is_new and folder.absolute() != above:
        with suppress(OSError):
            folder.rmdir()
        folder = folder.absolute().parent


def _findings(what: str, examined: Examined, what_is_good: str) -> Iterator[Finding]:
    yield from (Finding("wrong", what, sentence) for sentence in examined.unmet)
    yield from (Finding("risky", what, sentence) for sentence in examined.risks)
    if not examined.unmet and not examined.risks:
        yield Finding("good", what, f"{examined.version}, {what_is_good}")
