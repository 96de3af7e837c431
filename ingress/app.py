"""The ingress as an ASGI application: `uvicorn ingress.app:app`."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis.asyncio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ingress.commit import Committer
from ingress.durable import Durable, Limits
from ingress.probes import Probes
from ingress.receive import Receiver
from shared import config, logs
from shared.config import Config
from shared.inbox import Appender, connect
from shared.providers import PROVIDERS

GARBAGE_THRESHOLD = 50_000  # objects, more made than let go; CPython's own is 700

log = logs.get(__name__)


class _Application:
    """Takes callbacks straight to their endpoint, and everything else to Starlette.

    A callback meets no middleware on its way, for its endpoint lets no exception through; and a router's search among
    addresses of one form would cost a fifteenth of the ingress's time.
    """

    def __init__(self, receiver: ASGIApp, others: ASGIApp) -> None:
        self._receiver = receiver
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        named = _named_in(scope["path"], scope.get("root_path", "")) if scope["type"] == "http" else None
        if named:
            scope["path_params"] = named
            await self._receiver(scope, receive, send)
        else:
            await self._others(scope, receive, send)


def create_app(
    configuration: Config,
    client: "redis.asyncio.Redis | None" = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> ASGIApp:
    """The application for one configuration; client and clock may be given by tests."""
    settings = configuration.settings
    inbox = Appender(
        client or connect(redis.asyncio.Redis, settings.redis_url, settings.append_seconds), settings.inbox_limit
    )
    limits = Limits(
        settings.append_seconds,
        settings.group_count,
        settings.group_bytes,
        Path(settings.spool_dir),
        settings.spool_bytes,
    )
    durable = Durable(inbox, limits, now)
    committer = Committer(durable.keep, settings.group_count, settings.group_bytes)
    receiver = Receiver(configuration.sources, PROVIDERS, committer, settings, now)
    probes = Probes(inbox, durable, settings.retry_after_seconds)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        log.info("ingress started", sources=sorted(configuration.sources))
        mover = asyncio.create_task(durable.run())
        yield
        mover.cancel()
        with suppress(asyncio.CancelledError):
            await mover
        await durable.close()
        await inbox.close()
        log.info("ingress stopped")

    others = Starlette(
        routes=[
            Route("/healthz", probes.healthz),
            Route("/readyz", probes.readyz),
            Route("/metrics", probes.metrics),
        ],
        exception_handlers={HTTPException: _say},
        lifespan=lifespan,
    )
    others.router.redirect_slashes = False  # a provider follows none
    return _Application(receiver, others)


def _named_in(path: str, root_path: str) -> dict[str, str]:
    """The source, and the token if there is one, of a callback's address; empty for any other address."""
    match path.removeprefix(root_path).split("/"):
        case ["", "callbacks", source] if source:
            return {"source": source}
        case ["", "callbacks", source, token] if source and token:
            return {"source": source, "token": token}
    return {}


def _look_less_for_garbage() -> None:
    """A request leaves no cycles behind: looking for them every few requests, through all that was imported, would cost
    a twentieth of the ingress's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)


async def _say(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for this class only
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def __getattr__(name: str) -> Any:
    """`app` is made when a server asks for it, so that importing this module reads no configuration."""
    if name != "app":
        raise AttributeError(name)
    configuration = config.or_exit(lambda: config.load(None, os.environ, PROVIDERS))
    logs.configure(configuration.settings.log_level)
    application = create_app(configuration)
    _look_less_for_garbage()
    return application
