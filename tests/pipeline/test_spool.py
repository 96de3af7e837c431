"""`callbox spool`: what an ingress that was killed left on its disk reaches PostgreSQL by hand, all of it."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import redis

from deploy.local import servers
from ingress import spool_files
from tests.conftest import answers, wait_until
from tests.keys import INBOX
from tests.pipeline.conftest import CALLBOX, PYTHON, WORKER, Run, callbox, http

CALLBACKS = 300


def lives(url: str) -> bool:
    with suppress(OSError):
        return http(f"{url}/healthz")[0] == 200
    return False


def send(url: str, number: int) -> str:
    """The id under which a callback was accepted."""
    body = b'{"id": %d, "organisation": {"id": 1}, "payload": "hi"}' % number
    status, _, headers = http(f"{url}/callbacks/open", "POST", body)
    assert status == 200
    return str(headers["x-callbox-id"])


def entries(url: str) -> int:
    with suppress(redis.RedisError), redis.Redis.from_url(url) as client:
        found: Any = client.xlen(INBOX)
        return int(found)
    return 0


def test_what_a_killed_ingress_spooled_arrives_although_its_adoption_is_killed_too(
    run: Run, database_url: str, tmp_path: Path
) -> None:
    server = servers.Redis(tmp_path / "redis", "pw")
    folder, port = tmp_path / "lost", servers.free_port()
    urls = {"CALLBOX_REDIS_URL": server.url, "CALLBOX_DATABASE_URL": database_url}

    ingress = run("ingress", *PYTHON, "ingress", "--port", str(port), **urls, CALLBOX_SPOOL_DIR=str(folder))
    wait_until(lambda: lives(f"http://127.0.0.1:{port}"), "the ingress")
    acknowledged = sorted(send(f"http://127.0.0.1:{port}", number) for number in range(CALLBACKS))
    (path,) = spool_files.find(folder)
    refused = callbox("spool", "adopt", str(folder), cwd=tmp_path, **urls)
    assert (refused.returncode, refused.stdout) == (1, "no callbacks were moved\n")
    assert refused.stderr == f"callbox: {path}: its ingress runs, and moves it by itself\n"

    ingress.kill()
    ingress.wait()
    (file,) = json.loads(callbox("spool", "list", "--json", cwd=tmp_path, CALLBOX_SPOOL_DIR=str(folder)).stdout)
    assert (file["file"], file["in_use"], file["callbacks"]) == (path.name, False, {"open": CALLBACKS})

    run("redis.log", *server.command())
    wait_until(lambda: answers(server.url), "Redis")
    killed = run("adoption", CALLBOX, "spool", "adopt", str(folder), **urls, CALLBOX_GROUP_COUNT="1")
    wait_until(lambda: entries(server.url) > 20 or killed.poll() is not None, "some callbacks in the inbox")
    killed.kill()
    killed.wait()
    left = spool_files.read(path).counts["open"]
    assert 0 < left < CALLBACKS, "it was killed in the middle"
    adopted = callbox("spool", "adopt", str(folder), "--json", cwd=tmp_path, **urls)
    assert (adopted.returncode, json.loads(adopted.stdout)) == (0, {"moved": {"open": left}}), adopted.stderr
    assert list(folder.iterdir()) == []

    run("worker", *WORKER, **urls)
    wait_until(lambda: entries(server.url) == 0, "an empty inbox", 60)
    with psycopg.connect(database_url) as connection:
        stored = connection.execute("SELECT id::text, outcome FROM callbacks ORDER BY id").fetchall()
    assert [id for id, _ in stored] == acknowledged
    assert {outcome for _, outcome in stored} == {"stored"}
    status = json.loads(callbox("status", "--json", cwd=tmp_path, **urls).stdout)
    assert (status["accepted"], status["spooled"], status["difference"]) == (CALLBACKS, 0, 0)
