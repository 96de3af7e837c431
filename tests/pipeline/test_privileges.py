"""The whole system under the users of deploy/redis/users.acl and the roles of deploy/postgres/roles.sql: it does its
work without one refusal, and each of them is refused what it does not need."""

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
import redis
from psycopg import errors
from redis.exceptions import NoPermissionError

from deploy.local import servers
from deploy.local.servers import free_port
from deploy.local.supervisor import die_with_parent
from tests.conftest import answers, wait_until
from tests.keys import INBOX
from tests.pipeline.conftest import PYTHON, WORKER, Run, callbox, http
from workers import schema

DEPLOY = Path(__file__).parents[2] / "deploy"
USERS = ("ingress", "worker", "beat", "flower", "operator")
ROLES = ("worker", "operator", "reader")
CALLBACK = '{{"id": {}, "organisation": {{"id": 1}}, "payload": {}}}'


class Places(NamedTuple):
    """The URLs of both servers by user and by role, and a user of Redis who may do anything."""

    redis: dict[str, str]
    postgres: dict[str, str]
    admin: str


class RedisWithUsers:
    """A Redis with the users of users.acl, each with its name as its password."""

    def __init__(self, folder: Path) -> None:
        acl = (DEPLOY / "redis" / "users.acl").read_text()
        for user in (*USERS, "admin"):
            assert f"user {user} on #{user} " in acl
            acl = acl.replace(f"#{user} ", f"#{hashlib.sha256(user.encode()).hexdigest()} ")
        (folder / "users.acl").write_text(acl)
        server = servers.Redis(folder, "unused")
        self._command = server.command()
        with Path(self._command[1]).open("a") as file:
            file.write(f'aclfile "{folder}/users.acl"\n')
        self._log = folder / "log"
        self.urls = {user: f"redis://{user}:{user}@127.0.0.1:{server.port}/0" for user in (*USERS, "admin")}
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, preexec_fn=die_with_parent)
        wait_until(partial(answers, self.urls["admin"]), "Redis")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def redis_with_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisWithUsers]:
    started = RedisWithUsers(tmp_path_factory.mktemp("redis"))
    yield started
    started.kill()


@pytest.fixture
def redis_urls(redis_with_users: RedisWithUsers) -> dict[str, str]:
    return redis_with_users.urls


@pytest.fixture
def postgres_urls(empty_database_url: str) -> dict[str, str]:
    """A database with the roles, migrated by the one that owns it."""
    name = empty_database_url.rpartition("/")[2]
    sql = (DEPLOY / "postgres" / "roles.sql").read_text().replace("DATABASE callbox ", f"DATABASE {name} ")
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = 'callbox_migrate'").fetchone() is None:
            connection.execute("CREATE ROLE callbox_migrate LOGIN")
        connection.execute("GRANT callbox_migrate TO CURRENT_USER")
        connection.execute(f"ALTER DATABASE {name} OWNER TO callbox_migrate".encode())
        for _ in range(2):  # again, it changes nothing
            connection.execute(sql.encode())
        for role in ROLES:
            connection.execute(f"GRANT callbox_{role} TO CURRENT_USER".encode())
    urls = {role: f"{empty_database_url}?options=-c%20role%3Dcallbox_{role}" for role in (*ROLES, "migrate")}
    schema.migrate(urls["migrate"], after=True)
    return urls


@pytest.fixture
def places(redis_urls: dict[str, str], postgres_urls: dict[str, str]) -> Places:
    with redis.Redis.from_url(redis_urls["admin"]) as client:
        client.flushall()
        client.acl_log_reset()
    return Places(redis_urls, postgres_urls, redis_urls["admin"])


def refusals(places: Places) -> list[tuple[str, str, str]]:
    with redis.Redis.from_url(places.admin, decode_responses=True) as client:
        found: Any = client.acl_log(100)
    return [(each["username"], each["reason"], each["object"]) for each in found]


def test_the_system_does_all_its_work_and_nothing_is_refused(run: Run, tmp_path: Path, places: Places) -> None:
    port, flower_port = free_port(), free_port()
    run("ingress", *PYTHON, "ingress", "--port", str(port), CALLBOX_REDIS_URL=places.redis["ingress"])
    worker = {"CALLBOX_REDIS_URL": places.redis["worker"], "CALLBOX_DATABASE_URL": places.postgres["worker"]}
    run("worker", *WORKER, **worker)
    beat = {"CALLBOX_REDIS_URL": places.redis["beat"], "CALLBOX_DATABASE_URL": places.postgres["reader"]}
    run("beat", *PYTHON, "workers", "beat", **beat, CALLBOX_BEAT_SECONDS="1")
    flower = (*PYTHON, "workers", "flower", "--address=127.0.0.1", f"--port={flower_port}", "--read-only")
    run("flower", *flower, CALLBOX_REDIS_URL=places.redis["flower"])
    url = f"http://127.0.0.1:{port}"

    def command(*words: str) -> "subprocess.CompletedProcess[str]":
        operator = {"CALLBOX_REDIS_URL": places.redis["operator"], "CALLBOX_DATABASE_URL": places.postgres["operator"]}
        done = callbox(*words, cwd=tmp_path, CALLBOX_URL=url, **operator)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def status() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(command("status", "--json").stdout)
        return found

    def is_there(address: str) -> bool:
        try:
            return http(address)[0] == 200
        except OSError:
            return False

    wait_until(lambda: is_there(f"{url}/readyz"), "the ingress", 60)
    wait_until(lambda: is_there(f"http://127.0.0.1:{flower_port}/healthcheck"), "Flower", 60)
    command("send", "open", "--count", "6")
    for number, text in ((1, '"hi"'), (2, '"hi"'), (2, '"other"'), (3, "7")):
        assert http(f"{url}/callbacks/open", "POST", CALLBACK.format(number, text).encode())[0] == 200
    assert http(f"{url}/callbacks/open", "POST", b"not JSON")[0] == 200
    wait_until(lambda: status()["pending"] == 0 and status()["accepted"] == 11, "drains", 60, poll_seconds=0.3)
    assert "wrong" not in command("check").stdout
    for words in (
        *(("dead-letters", "list"), ("dead-letters", "replay", "--all"), ("conflicts",), ("shards",)),
        *(("spool", "list", str(tmp_path / "spool")), ("remove-tests",)),
    ):
        command(*words)
    assert is_there(f"http://127.0.0.1:{flower_port}/workers")
    assert is_there(f"http://127.0.0.1:{flower_port}/broker")
    assert is_there(f"{url}/metrics")
    assert refusals(places) == []


def test_a_restart_keeps_what_was_accepted(run: Run, redis_with_users: RedisWithUsers, places: Places) -> None:
    port = free_port()
    run("ingress", *PYTHON, "ingress", "--port", str(port), CALLBOX_REDIS_URL=places.redis["ingress"])
    url = f"http://127.0.0.1:{port}/callbacks/open"

    def accepts(number: int) -> bool:
        try:
            return http(url, "POST", CALLBACK.format(number, '"hi"').encode())[0] == 200
        except OSError:
            return False

    wait_until(lambda: accepts(0), "the ingress", 60)
    assert all(accepts(number) for number in range(1, 5))
    redis_with_users.kill()
    redis_with_users.start()
    with redis.Redis.from_url(places.admin) as client:
        assert client.xlen(INBOX) == 5
    assert refusals(places) == []


DANGEROUS = (
    *(("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "SET", "appendonly", "no"), ("SHUTDOWN", "NOSAVE"), ("ACL", "LIST")),
    *(("SAVE",), ("REPLICAOF", "NO", "ONE"), ("MONITOR",), ("CLIENT", "KILL", "TYPE", "normal")),
    *(("GET", "of-another"), ("SET", "of-another", "1"), ("PUBLISH", "of-another", "1"), ("SUBSCRIBE", "of-another")),
)
OF_THE_INBOX = tuple(
    (command, INBOX, *rest)
    for command, *rest in (("DEL",), ("SET", "1"), ("EXPIRE", "1"), ("XDEL", "0-1"), ("XTRIM", "MAXLEN", "0"))
)
CLAIM = ("XREADGROUP", "GROUP", "drain", "x", "STREAMS", INBOX, ">")
ENTRIES = ("XRANGE", INBOX, "-", "+")


@pytest.mark.parametrize(
    ("user", "commands"),
    [
        *((user, DANGEROUS) for user in USERS),
        ("ingress", (*OF_THE_INBOX, CLAIM, ("BRPOP", "callbox", "1"))),
        ("beat", OF_THE_INBOX),
        ("flower", (*OF_THE_INBOX, ENTRIES)),
        ("operator", (("HGETALL", "unacked"),)),
    ],
)
def test_a_user_is_refused_what_it_does_not_need(
    redis_urls: dict[str, str], user: str, commands: tuple[tuple[str, ...], ...]
) -> None:
    with redis.Redis.from_url(redis_urls[user]) as client:
        for words in commands:
            with pytest.raises(NoPermissionError):
                client.execute_command(*words)


def test_nobody_comes_in_without_a_user(redis_urls: dict[str, str]) -> None:
    address = redis_urls["admin"].rpartition("@")[2]
    with redis.Redis.from_url(f"redis://{address}") as client, pytest.raises(redis.AuthenticationError):
        client.ping()


@pytest.mark.parametrize("user", ["ingress", "worker", "beat", "operator"])
def test_who_uses_the_inbox_may_ask_a_cluster_where_it_is(redis_urls: dict[str, str], user: str) -> None:
    with redis.Redis.from_url(redis_urls["admin"]) as client:
        for words in (("CLUSTER", "SLOTS"), ("CLUSTER", "INFO")):
            assert client.execute_command("ACL", "DRYRUN", user, *words) == b"OK"


def test_an_ingress_may_wait_for_replicas_where_the_server_can(redis_urls: dict[str, str]) -> None:
    with redis.Redis.from_url(redis_urls["admin"]) as client:
        version: Any = client.info("server")
        commands: list[tuple[str, ...]] = [("WAIT", "1", "1")]
        if "valkey_version" in version or version["redis_version"] >= "7.2":
            commands.append(("WAITAOF", "1", "1", "1"))
        for words in commands:
            assert client.execute_command("ACL", "DRYRUN", "ingress", *words) == b"OK"


CHANGES = {
    "CREATE TABLE mine ()": (),
    "DROP TABLE callbacks": (),
    "TRUNCATE callbacks": (),
    "ALTER TABLE callbacks ADD mine integer": (),
    "DELETE FROM callbacks": ("operator",),
    "DELETE FROM dead_letters": ("operator",),
    "UPDATE callbacks SET conflict = true": ("operator", "worker"),
    "INSERT INTO replays SELECT * FROM replays": ("operator", "worker"),
    "SELECT FROM callbacks": ROLES,
    "SELECT FROM assembled_messages": ROLES,
}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_it_needs_and_no_more(postgres_urls: dict[str, str], role: str) -> None:
    with psycopg.connect(postgres_urls[role], autocommit=True) as connection:
        for statement, allowed in CHANGES.items():
            if role in allowed:
                connection.execute(statement.encode())
            else:
                with pytest.raises(errors.InsufficientPrivilege):
                    connection.execute(statement.encode())


def test_a_later_migration_needs_no_grants(postgres_urls: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    later = schema.Migration(9000, "9000_later", "CREATE TABLE later (a integer);")
    present: Callable[[], list[schema.Migration]] = schema.migrations
    monkeypatch.setattr(schema, "migrations", lambda: [*present(), later])
    schema.migrate(postgres_urls["migrate"])
    with psycopg.connect(postgres_urls["worker"], autocommit=True) as connection:
        connection.execute("INSERT INTO later VALUES (1)")
    with psycopg.connect(postgres_urls["reader"], autocommit=True) as connection:
        assert connection.execute("SELECT a FROM later").fetchall() == [(1,)]
