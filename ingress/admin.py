"""The admin paths on an address of their own, away from the providers: `CALLBOX_ADMIN_BIND`."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from ingress.protocol import Bounded
from shared.settings import Settings

BACKLOG = 128


@asynccontextmanager
async def serving(app: Any, listener: socket.socket) -> AsyncIterator[None]:
    """Serves the application there, with limits of its own: full of callbacks, the ingress still answers here."""
    config = Config(app, http=Bounded, ws="none", lifespan="off", log_config=None, proxy_headers=False)
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: Bounded(config, state, {}), sock=listener, backlog=BACKLOG
    )
    try:
        yield
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()


def listen(settings: Settings) -> socket.socket:
    """A listening socket at `admin_bind`. Raises OSError."""
    assert settings.admin_address is not None  # noqa: S101 - the caller asked before
    host, port = settings.admin_address
    return bind(host, port)


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket. Raises OSError."""
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
