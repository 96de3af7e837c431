"""The commands that start the processes of Callbox on this machine."""

import os
import sys

from deploy.local.errors import CannotStart
from deploy.local.listeners import Listeners

LAST_PORT = 65535
FLOWER_PORT = 5555  # unless the environment's FLOWER_PORT is another; if it is free


def ingress(listeners: Listeners) -> list[str]:
    """An ingress that inherits both sockets."""
    callbacks, admin = (str(listener.fileno()) for listener in listeners)
    return [*_python("ingress"), "--fd", callbacks, "--admin-fd", admin]


def worker(children: int) -> list[str]:
    return [*_python("workers"), "worker", f"--concurrency={children}"]


def beat() -> list[str]:
    return [*_python("workers"), "beat"]


def flower_port() -> int:
    """Where Flower is to listen. What Kubernetes writes into FLOWER_PORT is not meant (`workers/programs.py`). Raises
    CannotStart."""
    wanted = os.environ.get("FLOWER_PORT", "")
    if not wanted.isdecimal():
        return FLOWER_PORT
    if int(wanted) > LAST_PORT:
        raise CannotStart(f"FLOWER_PORT is no port: give one up to {LAST_PORT}")
    return int(wanted)


def flower(port: int) -> list[str]:
    return [*_python("workers"), "flower", "--address=127.0.0.1", f"--port={port}"]


def _python(package: str) -> list[str]:
    return [sys.executable, "-m", package]
