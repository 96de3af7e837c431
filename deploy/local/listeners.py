"""The listening sockets of `callbox up`, which all ingress processes inherit: a request goes to whichever of them takes
it first, so that one that hangs delays none."""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from deploy.local.errors import CannotStart
from shared.settings import Settings

_HERE = "127.0.0.1"


class Listeners(NamedTuple):
    """One socket for callbacks, one for the admin paths."""

    callbacks: socket.socket
    admin: socket.socket

    def addresses(self) -> Mapping[str, str]:
        """Their URLs on this machine, by variable."""
        return {"CALLBOX_URL": _url_of(self.callbacks), "CALLBOX_ADMIN_URL": _url_of(self.admin)}


@contextmanager
def listen(port: int, settings: Settings) -> Iterator[Listeners]:
    """Listens for callbacks on the loopback interface, and for the admin paths where the settings want them, else on
    any free port. Raises CannotStart."""
    host, admin_port = settings.admin_address or (_HERE, 0)
    with (
        _bound(_HERE, port, "choose another with `callbox up --port N` or `make run PORT=N`") as callbacks,
        _bound(host, admin_port, "set CALLBOX_ADMIN_BIND to another HOST:PORT") as admin,
    ):
        yield Listeners(callbacks, admin)


@contextmanager
def _bound(host: str, port: int, advice: str) -> Iterator[socket.socket]:
    """Raises CannotStart, with the advice."""
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        where = f"port {port}" if host == _HERE else f"port {port} of {host}"
        raise CannotStart(f"{where} cannot be used ({why}): {advice}") from None
    with listener:
        yield listener


def _url_of(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    if host == "0.0.0.0":  # noqa: S104 - a comparison
        host = _HERE
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
