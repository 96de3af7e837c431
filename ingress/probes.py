"""/healthz, /readyz and /metrics."""

from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ingress import metrics
from ingress.keeper import Keeper
from ingress.stop import Stop
from shared.current import Current
from shared.demands import Watch
from shared.errors import Unavailable
from shared.inbox import Shards
from shared.metrics import CONTENT_TYPE
from shared.settings import Settings


class Probes:
    """What others ask of a running ingress."""

    def __init__(
        self, inbox: Shards, keeper: Keeper, watch: Watch, stop: Stop, current: Current, settings: Settings
    ) -> None:
        self._inbox = inbox
        self._keeper = keeper
        self._watch = watch
        self._stop = stop
        self._current = current
        self._retry_after_seconds = settings.retry_after_seconds

    async def healthz(self, request: Request) -> Response:
        """200 while the process lives."""
        return PlainTextResponse("ok\n")

    async def readyz(self, request: Request) -> Response:
        """200 while a callback would be accepted, by Redis or by the spool; 503 also once this process was asked to
        stop, although it may still take callbacks for a while. It also shows whether enough replicas confirm, and which
        promises cannot be kept: `durability` by this process, `workers` by theirs. `configuration` distinguishes the
        sources that are served from those of any other callbox.toml."""
        takes, state = await self._keeper.state()
        ready = takes and not self._stop.has_begun
        try:
            workers = (await self._inbox.snapshot()).unmet
        except Unavailable:
            workers = {}
        document = {
            "ready": ready,
            "stopping": self._stop.has_begun,
            **state,
            "replicas": self._keeper.replicas,
            "durability": _sentences(self._watch.unmet),
            "configuration": self._current.fingerprint,
            "workers": "; ".join(f"{host}: {_sentences(unmet)}" for host, unmet in workers.items()) or "ok",
        }
        headers = None if ready else {"retry-after": str(self._retry_after_seconds)}
        return JSONResponse(document, 200 if ready else 503, headers)

    async def metrics(self, request: Request) -> Response:
        """What this process counts, or all that share its folder, in Prometheus's text format."""
        sources = self._current.configuration.sources.values()
        return Response(metrics.render(sources), media_type=CONTENT_TYPE)


def _sentences(unmet: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{what} {sentence}" for what, sentences in unmet.items() for sentence in sentences) or "ok"
