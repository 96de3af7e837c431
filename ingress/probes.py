"""/healthz, /readyz and /metrics."""

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ingress.keeper import Keeper
from shared import metrics
from shared.errors import Unavailable
from shared.inbox import Appender
from shared.settings import Settings


class Probes:
    """What others ask of a running ingress."""

    def __init__(self, inbox: Appender, keeper: Keeper, settings: Settings) -> None:
        self._inbox = inbox
        self._keeper = keeper
        self._retry_after_seconds = settings.retry_after_seconds

    async def healthz(self, request: Request) -> Response:
        """200 while the process lives."""
        return PlainTextResponse("ok\n")

    async def readyz(self, request: Request) -> Response:
        """200 while a callback would be accepted, by Redis or by the spool."""
        state = await self._keeper.state()
        if "ok" in state.values():
            return JSONResponse({"ready": True, **state})
        headers = {"retry-after": str(self._retry_after_seconds)}
        return JSONResponse({"ready": False, **state}, 503, headers)

    async def metrics(self, request: Request) -> Response:
        """Everything of shared/metrics.py, in Prometheus's text format."""
        try:
            snapshot = await self._inbox.snapshot()
        except Unavailable:
            snapshot = None
        return Response(metrics.render(snapshot), media_type="text/plain; version=0.0.4; charset=utf-8")
