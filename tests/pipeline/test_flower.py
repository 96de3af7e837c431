"""Flower shows what Callbox does, and changes nothing; where others reach it, it asks for a password."""

import base64
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import flower.urls
import pytest

from deploy.local import servers
from tests.conftest import wait_until
from tests.pipeline.conftest import CELERY, PYTHON, Run, Running, flower_tasks, http

HERE = "--address=127.0.0.1"
CONTROL = [
    path.replace("(.+)", "celery@nobody")
    for path, handler, *_ in (found for found in flower.urls.handlers if isinstance(found, tuple))
    if path.startswith("/api/") and "post" in vars(handler)
]


def serve(run: Run, redis_url: str, *words: str, **environment: str) -> str:
    """The URL of a Flower that is there."""
    port = servers.free_port()
    run("flower", *words, f"--port={port}", CALLBOX_REDIS_URL=redis_url, **environment)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        with suppress(OSError):
            return http(f"{url}/healthcheck")[0] == 200
        return False

    wait_until(answers, "Flower", 60)
    return url


@pytest.mark.parametrize("words", [(*PYTHON, "workers", "flower"), (*CELERY, "flower")], ids=["ours", "celery"])
def test_it_changes_nothing_whoever_starts_it(run: Run, redis_url: str, words: tuple[str, ...]) -> None:
    url = serve(run, redis_url, *words, HERE, FLOWER_UNAUTHENTICATED_API="true")
    assert len(CONTROL) > 10
    for path in CONTROL:
        status, body, _ = http(url + path, "POST", b"")
        assert (status, body) == (403, b"Read only mode is enabled"), path
    assert http(f"{url}/api/task/types")[0] == 200


def test_whoever_wants_to_control_workers_says_so(run: Run, redis_url: str) -> None:
    words = (*PYTHON, "workers", "flower", HERE, "--read-only=false")
    url = serve(run, redis_url, *words, FLOWER_UNAUTHENTICATED_API="true")
    assert http(f"{url}/api/worker/shutdown/celery@nobody", "POST", b"")[0] == 404


@pytest.mark.parametrize("words", [(*PYTHON, "workers", "flower"), (*CELERY, "flower")], ids=["ours", "celery"])
def test_without_a_password_it_serves_this_host_only(
    run: Run, redis_url: str, tmp_path: Path, words: tuple[str, ...]
) -> None:
    process = run("said", *words, "--port=0", CALLBOX_REDIS_URL=redis_url)
    assert process.wait(60) == 2
    said = (tmp_path / "said").read_text()
    assert said.count("\n") == 1
    assert said.startswith("Flower would show itself without a password at every address of this host: set FLOWER_")


def test_with_a_password_it_asks_for_it(run: Run, redis_url: str) -> None:
    url = serve(run, redis_url, *PYTHON, "workers", "flower", FLOWER_BASIC_AUTH="me:a-password")
    for path in ("/", "/tasks", "/workers", "/broker", "/api/workers", "/api/tasks"):
        assert http(url + path)[0] == 401, path
    known = base64.b64encode(b"me:a-password").decode()
    assert http(f"{url}/tasks", Authorization=f"Basic {known}")[0] == 200


def test_the_page_of_a_worker_shows_how_it_reaches_its_broker_and_no_credential(system: Running) -> None:
    page = f"{system.addresses['FLOWER_URL']}/worker/celery@{socket.gethostname()}"

    def shown() -> str:
        return http(page)[1].decode()

    wait_until(lambda: shown().count("visibility_timeout") == 2, "its connection and its settings")
    password = urlsplit(system.addresses["CALLBOX_REDIS_URL"]).password
    assert password
    assert password not in shown()


def test_a_row_has_counts_by_source_and_outcome_and_nothing_has_no_row(system: Running) -> None:
    system.send(*(system.request("open", "mo") for _ in range(3)))
    system.send(system.request("support", "dr"))
    system.wait_drained()

    def results() -> list[str]:
        return [task["result"] for task in flower_tasks(system) if task["name"] == "callbox.drain"]

    def has_row(counts: str) -> bool:
        return any(counts in each for each in results() if each)

    for counts in ("'open': {'stored': ", "'support': {'stored': 1}"):  # perhaps of two drains
        wait_until(partial(has_row, counts), f"a row with {counts}")
    without = {None}  # a name: Flower began to listen in the middle of that task
    assert {task["name"] for task in flower_tasks(system)} - without <= {"callbox.drain", "callbox.maintain"}
