"""One request to /callbacks/: find its source, read it, verify it, commit it, answer in its provider's words.

A raw ASGI endpoint: Starlette's request and response objects would be made only to be taken apart again.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache, lru_cache
from ipaddress import ip_address
from time import perf_counter

from starlette.types import Receive, Scope, Send

from ingress import http
from ingress.commit import Committer
from shared import logs
from shared.callback import Callback, new_id, token_in
from shared.config import Settings, Source
from shared.errors import Rejected, Unavailable
from shared.metrics import ACKNOWLEDGE_SECONDS, PROOFS, REFUSALS, REQUESTS
from shared.providers import Provider
from shared.signing import same_token

# Looked up once for each label: prometheus_client does it under a lock.
_requests, _proofs = cache(REQUESTS.labels), cache(PROOFS.labels)
_acknowledge_seconds = cache(ACKNOWLEDGE_SECONDS.labels)

log = logs.get(__name__)


class Receiver:
    """The endpoint of every source."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        providers: Mapping[str, Provider],
        committer: Committer,
        settings: Settings,
        now: Callable[[], datetime],
    ) -> None:
        self._sources = {name: (source, providers[source.provider]) for name, source in sources.items()}
        self._committer = committer
        self._settings = settings
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        source, provider = self._sources.get(scope["path_params"]["source"], (None, None))
        name, reply = (source.name if source else ""), (provider.REPLY if provider else None)
        try:
            if source is None or provider is None:
                raise http.not_found()
            callback, proof = await self._receive(scope, receive, source, provider)
            started = perf_counter()
            await self._commit(callback.kept(provider.HEADERS))
        except http.Gone:
            _requests(name, "gone").inc()
        except http.Refusal as refusal:
            _requests(name, refusal.outcome).inc()
            await http.refuse(send, refusal, reply)
        except Exception as error:
            # A fault of ours must not look like one of the provider's (promise P6).
            log.error("request failed", source=name, exc_info=error)
            _requests(name, "unavailable").inc()
            await http.refuse(send, http.unavailable(self._settings.retry_after_seconds), reply)
        else:
            _acknowledge_seconds(name).observe(perf_counter() - started)
            _requests(name, "accepted").inc()
            _proofs(name, proof).inc()
            await http.acknowledge(send, provider.REPLY, str(callback.id))

    async def _receive(
        self, scope: Scope, receive: Receive, source: Source, provider: Provider
    ) -> tuple[Callback, str]:
        """The callback and what proved it. Raises Refusal or Gone."""
        query: str = scope["query_string"].decode("latin-1")
        if not _has_token(source, scope["path_params"].get("token"), query):
            raise http.not_found()
        if scope["method"] not in provider.METHODS:
            raise http.wrong_method(provider.METHODS)
        headers = http.headers_of(scope)
        body = await http.read_body(receive, headers, self._settings.body_limit_bytes, self._settings.body_seconds)
        now, client = self._now(), scope.get("client")
        callback = Callback(
            id=new_id(now),
            source=source.name,
            provider=source.provider,
            received_at=now,
            method=scope["method"],
            path=scope["raw_path"].decode("latin-1"),
            query=query,
            headers=headers,
            body=body,
            remote_ip=_address(client[0]) if client else None,
        )
        try:
            _check_ip(source, callback.remote_ip)
            return callback, provider.verify(callback, source)
        except Rejected as rejected:
            REFUSALS.labels(source.name, rejected.reason).inc()
            log.warning("rejected", source=source.name, reason=rejected.reason)
            raise http.not_proven() from None

    async def _commit(self, callback: Callback) -> None:
        try:
            await self._committer.commit(callback)
        except Unavailable:
            raise http.unavailable(self._settings.retry_after_seconds) from None


def _has_token(source: Source, in_path: str | None, query: str) -> bool:
    """Whether the request carries the source's token, in its path or its query. A source without one takes none."""
    if source.token is None:
        return in_path is None
    return same_token(source.token, in_path if in_path is not None else token_in(query))


def _check_ip(source: Source, remote_ip: str | None) -> None:
    if not source.allow_ips:
        return
    if remote_ip is None:
        raise Rejected("address_unknown")
    address = ip_address(remote_ip)
    if not any(address in network for network in source.allow_ips):
        raise Rejected("address_not_allowed")


@lru_cache(maxsize=1024)  # a provider calls from a few
def _address(told: str) -> str | None:
    """The caller's address as the server tells it, without a zone; None where it is none (a Unix socket)."""
    try:
        address = ip_address(told.partition("%")[0])
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)
