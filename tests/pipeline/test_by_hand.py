"""The processes started by hand, as the design names them: in any order, each waiting for what is not there yet."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import redis

from deploy.local import servers
from shared.callback import Callback, new_id, pack
from shared.inbox import doorbell
from tests.conftest import wait_until
from tests.keys import INBOX
from tests.pipeline.conftest import CELERY, PYTHON, WORKER, Run, callbox, http
from workers import schema


def put(client: redis.Redis) -> None:
    now = datetime.now(UTC)
    body = b'{"id": %d, "organisation": {"id": 1}, "payload": "hi"}' % now.timestamp()
    callback = Callback(id=new_id(now), source="open", provider="emnify", received_at=now, method="POST", body=body)
    client.xadd(INBOX, {"s": "open", "c": pack(callback)})


def test_our_doorbell_starts_a_drain_of_the_locked_celery(
    run: Run, redis_url: str, database_url: str, tmp_path: Path
) -> None:
    """The golden test of the wire format: no beat, no message of Celery's own, only the bytes of the doorbell."""
    worker = (*CELERY, "worker", "--concurrency", "1")
    run("worker", *worker, CALLBOX_REDIS_URL=redis_url, CALLBOX_DATABASE_URL=database_url)
    with redis.Redis.from_url(redis_url) as client:
        for _ in range(3):
            put(client)
            client.lpush(doorbell.QUEUE, doorbell.message(new_id(datetime.now(UTC))))
            wait_until(lambda: client.xlen(INBOX) == 0, "a drain after a ring")
            wait_until(lambda: client.hlen("unacked") == 0, "Celery's own acknowledgement")
            assert client.llen(doorbell.QUEUE) == 0
    said = (tmp_path / "worker").read_text()
    assert said.count('"event": "drained"') == 3
    assert "Traceback" not in said


def test_beat_alone_rings_when_the_doorbell_was_lost(run: Run, redis_url: str, database_url: str) -> None:
    urls = {"CALLBOX_REDIS_URL": redis_url, "CALLBOX_DATABASE_URL": database_url, "CALLBOX_BEAT_SECONDS": "0.5"}
    run("worker", *WORKER, **urls)
    run("beat", *CELERY, "beat", **urls)
    with redis.Redis.from_url(redis_url) as client:
        put(client)
        wait_until(lambda: client.xlen(INBOX) == 0, "a drain rung by beat")


def test_everything_may_start_before_its_servers(run: Run, tmp_path: Path) -> None:
    own_redis, own_postgres = (
        servers.Redis(tmp_path / "redis", "pw"),
        servers.Postgres(tmp_path / "postgres", "pw"),
    )
    port = servers.free_port()
    urls = {"CALLBOX_REDIS_URL": own_redis.url, "CALLBOX_DATABASE_URL": own_postgres.url, "CALLBOX_BEAT_SECONDS": "0.5"}
    processes = [
        run("ingress", *PYTHON, "ingress", "--port", str(port), **urls),
        run("worker", *WORKER, **urls),
        run("beat", *PYTHON, "workers", "beat", **urls),
    ]
    url = f"http://127.0.0.1:{port}"

    def answer(path: str, body: bytes | None = None) -> int:
        with suppress(OSError):
            return http(url + path, "POST" if body else "GET", body)[0]
        return 0

    def said(name: str) -> str:
        return (tmp_path / name).read_text()

    callback = b'{"id": 1, "organisation": {"id": 1}, "payload": "hi"}'
    wait_until(lambda: answer("/healthz") == 200, "the ingress lives")
    assert answer("/readyz") == 200, "the spool takes callbacks"
    assert answer("/callbacks/open", callback) == 200
    wait_until(lambda: "Cannot connect to redis" in said("worker"), "the worker says that Redis is not there")

    run("redis.log", *own_redis.command())
    wait_until(lambda: b'"redis":"ok"' in http(url + "/readyz")[1], "the ingress finds Redis")
    assert answer("/callbacks/open", callback) == 200
    with redis.Redis.from_url(own_redis.url) as client:
        wait_until(lambda: client.xlen(INBOX) == 2, "what was spooled is in the inbox")
    wait_until(
        lambda: "PostgreSQL does not answer" in said("worker"), "the worker says that PostgreSQL is not there", 60
    )

    own_postgres.prepare()
    run("postgres.log", *own_postgres.command())
    wait_until(lambda: "run `callbox migrate`" in said("worker"), "the worker says that tables are missing", 60)
    assert callbox("migrate", cwd=tmp_path, **urls).returncode == 0
    with redis.Redis.from_url(own_redis.url) as client:
        wait_until(lambda: client.xlen(INBOX) == 0, "an empty inbox", 60)
    with psycopg.connect(own_postgres.url) as connection:
        outcomes = connection.execute("SELECT outcome FROM callbacks ORDER BY outcome").fetchall()
        assert outcomes == [("duplicate",), ("stored",)]
        assert schema.is_current(connection)
    assert all(process.poll() is None for process in processes), "one of them gave up"


@pytest.mark.parametrize(
    "words",
    [
        (*PYTHON, "ingress", "--port", "0"),
        (*PYTHON, "uvicorn", "ingress.app:app", "--port", "0"),
        WORKER,
    ],
)
def test_a_wrong_configuration_ends_them_with_2_and_no_traceback(
    run: Run, words: tuple[str, ...], tmp_path: Path, redis_url: str
) -> None:
    (tmp_path / "callbox.toml").write_text('[sources.a]\nprovider = "nobody"\n')
    process = run("said", *words, CALLBOX_REDIS_URL=redis_url, CALLBOX_BATCH_COUNT="many")
    assert process.wait(60) == 2
    said = (tmp_path / "said").read_text()
    assert "CALLBOX_BATCH_COUNT: 'many' is not a whole number" in said
    assert "Traceback" not in said
