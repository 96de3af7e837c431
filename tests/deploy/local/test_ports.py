"""Ports for servers that are started later, and again."""

import socket
import sys

import pytest

from deploy.local.servers import free_port


def test_the_preferred_port_is_taken_unless_somebody_listens_there() -> None:
    preferred = free_port()
    assert free_port(preferred) == preferred
    with socket.create_server(("127.0.0.1", preferred)):
        assert free_port(preferred) != preferred


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port is not kept")
def test_a_port_is_kept_for_a_server_and_its_next_starts() -> None:
    port = free_port()
    for _ in range(2):
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", port))  # as whoever takes any port
        with socket.create_server(("127.0.0.1", port)) as server, socket.create_connection(server.getsockname()):
            pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
