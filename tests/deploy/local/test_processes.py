"""The commands that start the processes of Callbox."""

import sys
from importlib.util import find_spec

import pytest

from deploy.local import processes
from deploy.local.errors import CannotStart
from deploy.local.listeners import listen
from shared.settings import Settings
from workers.__main__ import ROLES


def test_an_ingress_inherits_the_sockets() -> None:
    with listen(0, Settings()) as listeners:
        callbacks, admin = (str(listener.fileno()) for listener in listeners)
        assert processes.ingress(listeners) == [
            *(sys.executable, "-m", "ingress"),
            *("--fd", callbacks, "--admin-fd", admin),
        ]


def test_the_others_are_roles_of_the_workers() -> None:
    commands = (processes.worker(3), processes.beat(), processes.flower(5555))
    assert [command[3] for command in commands] == list(ROLES)
    assert {tuple(command[:3]) for command in commands} == {(sys.executable, "-m", "workers")}
    assert find_spec("workers.__main__")
    assert processes.worker(3)[-1] == "--concurrency=3"
    assert processes.flower(5555)[-2:] == ["--address=127.0.0.1", "--port=5555"]


def test_a_port_of_flower_that_does_not_exist_is_a_mistake_and_a_url_of_kubernetes_is_not_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FLOWER_PORT", "65536")
    with pytest.raises(CannotStart, match="FLOWER_PORT is no port: give one up to 65535"):
        processes.flower_port()
    monkeypatch.setenv("FLOWER_PORT", "tcp://10.96.0.7:5555")
    assert processes.flower_port() == processes.FLOWER_PORT
