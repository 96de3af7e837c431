"""Every process says everything in lines of JSON, whatever happens to it, however it is started."""

import os
import signal
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import redis

from deploy.local import servers
from shared.callback import new_id
from shared.inbox import doorbell
from tests import said
from tests.conftest import wait_until
from tests.keys import INBOX
from tests.pipeline.conftest import CELERY, PYTHON, Run, family, http

NO_POSTGRES = "postgresql://127.0.0.1:1/x"


def message(task: str) -> bytes:
    """A message to the workers that asks for a task."""
    known = msgspec.json.decode(doorbell.message(new_id(datetime.now(UTC))))
    known["headers"]["task"] = task
    return msgspec.json.encode(known)


def test_every_line_is_json(run: Run, tmp_path: Path) -> None:
    own_redis = servers.Redis(tmp_path / "redis", "pw")
    ports = [servers.free_port() for _ in range(3)]
    urls = {"CALLBOX_REDIS_URL": own_redis.url, "CALLBOX_DATABASE_URL": NO_POSTGRES, "CALLBOX_BEAT_SECONDS": "0.5"}
    urls["CALLBOX_DRAIN_SECONDS"] = "1"  # then the worker takes its next message
    commands = {
        "ingress": (*PYTHON, "ingress", "--port", str(ports[0])),
        "uvicorn": (*PYTHON, "uvicorn", "ingress.app:app", "--port", str(ports[2])),
        "worker": (*CELERY, "worker", "--concurrency=1", "--loglevel=INFO"),
        "beat": (*CELERY, "beat", "--pidfile=", "--loglevel=INFO"),
        "flower": (*CELERY, "flower", "--address=127.0.0.1", f"--port={ports[1]}"),
    }
    processes = {name: run(name, *command, **urls) for name, command in commands.items()}
    url = f"http://127.0.0.1:{ports[0]}"

    def has_said(name: str, event: str) -> bool:
        return event in (tmp_path / name).read_text()

    def is_taken() -> bool:
        with suppress(OSError):
            return http(f"{url}/callbacks/open", "POST", b'{"id": 1, "organisation": {"id": 1}}')[0] == 200
        return False

    # Redis is not there yet; PostgreSQL never is.
    wait_until(is_taken, "the spool takes a callback", 60)
    wait_until(lambda: has_said("worker", "Cannot connect to redis"), "the worker misses Redis", 60)
    wait_until(lambda: has_said("beat", "Connection error"), "beat misses Redis", 60)
    http(f"{url}/callbacks/fleet", "POST", b"unproven")
    http(f"{url}/callbacks/nowhere", "POST", b"")

    run("redis.log", *own_redis.command())
    with redis.Redis.from_url(own_redis.url) as client:
        wait_until(lambda: has_said("worker", "waiting to store"), "the worker misses PostgreSQL", 60)
        client.rpush(doorbell.QUEUE, message("nobody.knows.it"))
        wait_until(lambda: has_said("worker", "unregistered task"), "the worker does not know a task", 60)
        (child,) = family(processes["worker"].pid) - {processes["worker"].pid}
        os.kill(child, signal.SIGKILL)
        wait_until(lambda: has_said("worker", "SIGKILL"), "the worker misses its child", 60)
        assert client.xlen(INBOX) == 1
    http(f"http://127.0.0.1:{ports[2]}/callbacks/fleet", "POST", b"unproven")
    wait_until(lambda: http(f"http://127.0.0.1:{ports[1]}/no-such-page")[0] == 404, "Flower answers", 60)

    for process in processes.values():
        process.send_signal(signal.SIGTERM)
    for name, process in processes.items():
        process.wait(60)
        written = (tmp_path / name).read_text()
        assert written, f"{name} says nothing"
        assert said.not_json(written) == []
        assert list(said.private_in(written)) == []
