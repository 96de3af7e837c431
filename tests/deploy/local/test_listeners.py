"""The listening sockets of `callbox up`."""

import socket

import pytest

from deploy.local.errors import CannotStart
from deploy.local.listeners import listen
from deploy.local.servers import free_port
from shared.settings import Settings


def test_callbacks_and_admin_paths_have_an_address_each() -> None:
    with listen(0, Settings()) as listeners:
        addresses = listeners.addresses()
        assert addresses["CALLBOX_URL"] == f"http://127.0.0.1:{listeners.callbacks.getsockname()[1]}"
        assert addresses["CALLBOX_ADMIN_URL"] == f"http://127.0.0.1:{listeners.admin.getsockname()[1]}"
        assert len(set(addresses.values())) == 2
    assert listeners.callbacks.fileno() == listeners.admin.fileno() == -1, "both are closed at the end"


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.2", "127.0.0.2"), ("0.0.0.0", "127.0.0.1")])
def test_the_admin_address_is_that_of_the_settings_as_this_machine_reaches_it(host: str, shown: str) -> None:
    port = free_port()
    with listen(0, Settings(admin_bind=f"{host}:{port}")) as listeners:
        assert listeners.admin.getsockname() == (host, port)
        assert listeners.addresses()["CALLBOX_ADMIN_URL"] == f"http://{shown}:{port}"


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(CannotStart, match=rf"port {port} cannot be used .*: choose another"),
            listen(port, Settings()),
        ):
            pass
        settings = Settings(admin_bind=f"127.0.0.1:{port}")
        with pytest.raises(CannotStart, match=rf"port {port} .*CALLBOX_ADMIN_BIND"), listen(0, settings):
            pass
