"""The ingress as an ASGI application: `python -m ingress`, or `uvicorn ingress.app:app`."""

import asyncio
import gc
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ingress import admin, metrics
from ingress.address import Proxies
from ingress.commit import Committer
from ingress.examiner import Examiner
from ingress.gate import Gate, Limits
from ingress.keeper import Keeper
from ingress.probes import Probes
from ingress.quarantine import Quarantine
from ingress.receive import Receiver, place_in
from ingress.reload import Reloader
from ingress.spool_mover import SpoolMover
from ingress.spools import Spools
from ingress.stop import Stop
from ingress.traced import TracedCommitter, TracedKeeper
from shared import config, hangup, logs, traces
from shared.config import Config
from shared.current import Current
from shared.inbox import QuarantineWriter, Ringer, Shards
from shared.providers import PROVIDERS

if TYPE_CHECKING:
    from shared.spans import Traces

GARBAGE_THRESHOLD = 50_000  # objects, more made than let go; CPython's own is 700

log = logs.get(__name__)


class Ingress:
    """Takes callbacks straight to their receiver, and everything else to Starlette.

    A callback meets no middleware on its way, for the receiver lets no exception through; and a router's search among
    addresses of one form would cost a fifteenth of the ingress's time.
    """

    def __init__(self, gate: Gate, receiver: Receiver | None, others: ASGIApp) -> None:
        self.gate = gate
        self.receiver = receiver
        self.others = others
        self._has_warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        place = None
        if scope["type"] == "http" and self.receiver is not None:
            path = scope["raw_path"].decode("latin-1").removeprefix(scope.get("root_path", ""))
            place = place_in(path)
            if place is None:
                self.receiver.missed(path, scope["headers"], scope["client"][0] if scope.get("client") else None)
        if place is None or self.receiver is None:
            await self.others(scope, receive, send)
        else:
            self._warn_once()
            scope["path_params"] = place._asdict()
            await self.receiver(scope, receive, send)

    def _warn_once(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            log.warning("served without the limits of connections and heads", do="start it by `python -m ingress`")


def create_app(
    configuration: Config,
    inbox: Shards | None = None,
    ringer: Ringer | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    admin_listener: socket.socket | None = None,
    stop: Stop | None = None,
    traces: "Traces | None" = None,
) -> Ingress:
    """The application for one configuration. Tests may give inbox, doorbell and clock; who starts it may give a socket
    that listens for the admin paths, in the place of the address in `CALLBOX_ADMIN_BIND`, where it will show that it
    stops, and its traces."""
    settings = configuration.settings
    metrics.begin(list(configuration.sources))
    inbox = inbox or Shards.connect(settings)
    ringer = ringer or Ringer.connect(settings.celery_url, settings.connect_seconds, now)
    spools = Spools(settings)
    if traces is None:
        keeper = Keeper(inbox, spools, ringer, settings)
        committer = Committer(keeper, settings)
    else:
        keeper = TracedKeeper(inbox, spools, ringer, settings, traces=traces)
        committer = TracedCommitter(keeper, settings, traces=traces)
    mover = SpoolMover(keeper, spools, inbox, settings)
    proxies = Proxies(settings.proxy_networks)
    quarantine = Quarantine(QuarantineWriter.connect(settings))
    receiver = Receiver(configuration.sources, PROVIDERS, committer, quarantine, settings, now)
    current = Current(configuration, lambda: config.load(configuration.path, os.environ, PROVIDERS))
    reloader = Reloader(current, receiver, settings)
    examiner = Examiner(spools, settings)
    probes = Probes(inbox, keeper, examiner.watch, stop or Stop(), current, settings)
    admin_paths = [
        Route("/healthz", probes.healthz),
        Route("/readyz", probes.readyz),
        Route("/metrics", probes.metrics),
    ]
    has_admin = admin_listener is not None or settings.admin_address is not None
    admin_app = Ingress(Gate(Limits.of(settings), proxies), None, _starlette(admin_paths))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        log.info("ingress started", sources=sorted(configuration.sources), has=current.fingerprint)
        tasks = [asyncio.create_task(work.run()) for work in (keeper, mover, examiner, quarantine, reloader)]
        _follow_hangups(reloader)
        if has_admin:
            async with admin.serving(admin_app, admin_listener or admin.listen(settings)):
                yield
        else:
            yield
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await quarantine.close()
        await reloader.leave()
        await spools.close()
        await inbox.close()
        await ringer.close()
        if traces is not None:
            await asyncio.to_thread(traces.close)
        log.info("ingress stopped")

    others = _starlette([] if has_admin else admin_paths, lifespan)
    return Ingress(Gate(Limits.of(settings), proxies), receiver, others)


def _follow_hangups(reloader: Reloader) -> None:
    """Only the first thread of a process gets signals: in another one this is a test."""
    if threading.current_thread() is not threading.main_thread():
        return
    terminal = hangup.Terminal()

    def hung_up() -> None:
        if terminal.has_gone():
            signal.raise_signal(signal.SIGTERM)
        else:
            reloader.ask()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up)
    hangup.deliver()


def _starlette(routes: list[Route], lifespan: Any = None) -> Starlette:
    app = Starlette(routes=routes, exception_handlers={HTTPException: _as_json}, lifespan=lifespan)
    app.router.redirect_slashes = False  # a provider follows none
    return app


async def _as_json(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for this class only
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def look_less_for_garbage() -> None:
    """A request leaves no cycles behind: looking for them every few requests, through all that was imported, would cost
    a twentieth of the ingress's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)


def __getattr__(name: str) -> Any:
    """`app` is made when a server asks for it, so that importing this module reads no configuration."""
    if name != "app":
        raise AttributeError(name)
    configuration = config.or_exit(lambda: config.load(None, os.environ, PROVIDERS))
    logs.configure(configuration.settings.log_level)
    application = create_app(configuration, traces=config.or_exit(lambda: traces.connect(os.environ)))
    look_less_for_garbage()
    return application
