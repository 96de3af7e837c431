"""The admin paths of `callbox up`: at an address of their own, away from the callbacks."""

import socket

import pytest

from deploy.local.servers import free_port
from tests.pipeline.conftest import Running, Start, callbox, http

PATHS = ("/healthz", "/readyz", "/metrics")


@pytest.mark.parametrize("path", PATHS)
def test_they_are_answered_there_and_only_there(system: Running, path: str) -> None:
    assert http(system.admin_url + path)[0] == 200
    assert http(system.url + path)[0] == 404


def test_callbacks_are_not_taken_there(system: Running) -> None:
    request = system.request("open", "mo")
    assert http(system.admin_url + request.path, request.method, request.body, **request.headers)[0] == 404


def test_the_environment_may_say_where_they_are(start: Start) -> None:
    port = free_port()
    up = start("--ingress", "2", "--workers", "0", "--no-flower", CALLBOX_ADMIN_BIND=f"127.0.0.2:{port}")
    assert up.admin_url == f"http://127.0.0.2:{port}"
    assert all(http(up.admin_url + path)[0] == 200 for path in PATHS)


def test_where_they_cannot_be_it_says_so_and_how_to_choose_another(system: Running) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = callbox(
            "up", "--port", "0", "--data", "other", cwd=system.folder, CALLBOX_ADMIN_BIND=f"127.0.0.1:{port}"
        )
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert f"port {port} cannot be used (Address already in use)" in done.stderr
    assert "CALLBOX_ADMIN_BIND" in done.stderr


def test_every_interface_is_asked_at_the_own_one(start: Start) -> None:
    port = free_port()
    up = start("--workers", "0", "--no-flower", CALLBOX_ADMIN_BIND=f"0.0.0.0:{port}")
    assert up.admin_url == f"http://127.0.0.1:{port}"
    assert http(up.admin_url + "/readyz")[0] == 200
