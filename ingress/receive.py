"""One request to a callback address: admit its head, take its body, answer in its provider's words.

Both servers of the ingress come here, its own protocol (`ingress/protocol.py`) and, through ASGI, any other. Nothing
here waits: what is taken is answered once it is on disk.
"""

import asyncio
from collections.abc import Callable, Container, Iterable, Mapping
from datetime import datetime
from functools import cache
from time import perf_counter
from typing import NamedTuple, Self
from urllib.parse import unquote
from uuid import UUID

from starlette.types import Receive, Scope, Send

from ingress import answers
from ingress.address import Proxies, check_address
from ingress.answers import Answer, Gone, Refusal
from ingress.commit import Committer
from ingress.metrics import ACKNOWLEDGE_SECONDS, PROOFS, REFUSALS, REQUESTS
from ingress.quarantine import Quarantine
from shared import logs
from shared.callback import COMMON_HEADERS, Arrival, new_id, token_in
from shared.errors import Rejected, Unavailable
from shared.fingerprint import labels
from shared.providers import Provider, prove
from shared.refused import PLACE_HEADERS
from shared.settings import Settings
from shared.signing import same_token
from shared.source import Source

# Looked up once for each label: prometheus_client does it under a lock.
_requests, _proofs = cache(REQUESTS.labels), cache(PROOFS.labels)
_acknowledge_seconds = cache(ACKNOWLEDGE_SECONDS.labels)

PATH_CHARS = 80  # of a path, in a log
_FORWARDED = {b"x-forwarded-for": "x-forwarded-for"}
_PLACE_HEADERS = {name.encode(): name for name in PLACE_HEADERS}
_LOGGED = frozenset({"not_found", "rejected", "unavailable"})  # by the code that finds them, which knows more
_OWN_HEADERS = frozenset({"content-length", "content-encoding", "transfer-encoding", "upgrade", "x-forwarded-for"})

log = logs.get(__name__)


class Place(NamedTuple):
    """A callback address: /callbacks/{source} or /callbacks/{source}/{token}."""

    source: str
    token: str | None


class Endpoint(NamedTuple):
    """A source and its provider, and what is found out about them before any request comes."""

    source: Source
    provider: Provider
    headers: Mapping[bytes, str]  # that are wanted
    proofs: Mapping[str, str]  # what `verify` calls a proof → what the metrics call it

    @classmethod
    def of(cls, source: Source, provider: Provider) -> Self:
        wanted = _OWN_HEADERS | COMMON_HEADERS | provider.HEADERS | provider.PROOF_HEADERS
        return cls(source, provider, {header.encode(): header for header in wanted}, labels(source))


class Admitted(NamedTuple):
    """A request whose head is in order: what is asked of its body, and what it will be when that is there."""

    endpoint: Endpoint
    method: str
    target: str  # path and query as requested
    headers: dict[str, str]
    remote_ip: str | None
    body_limit_bytes: int
    peer: str | None
    all_headers: Iterable[tuple[bytes, bytes]]
    reason: str | None  # why it is refused; None: its proof decides


class Receiver:
    """The endpoint of every source."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        providers: Mapping[str, Provider],
        committer: Committer,
        quarantine: Quarantine,
        settings: Settings,
        now: Callable[[], datetime],
    ) -> None:
        self._providers = providers
        self.serve(sources)
        self._committer = committer
        self._quarantine = quarantine
        self._settings = settings
        self._proxies = Proxies(settings.proxy_networks)
        self._now = now
        self._log = logs.Limited(log)

    def serve(self, sources: Mapping[str, Source]) -> None:
        """Serves these from the next request on. One whose head was admitted before is judged by what was so then.

        Takes some 10 ms for each secret whose fingerprint this process does not know yet.
        """
        self._endpoints = {
            name: Endpoint.of(source, self._providers[source.provider]) for name, source in sources.items()
        }
        self._tokens = {source.token for source in sources.values() if source.token}
        self.sources = sources

    def admit(
        self, place: Place, method: str, target: str, headers: Iterable[tuple[bytes, bytes]], peer: str | None
    ) -> Admitted:
        """Judges the head of a request: all that can be judged before its body. Raises Refusal.

        `headers` have lower-case names; `peer` is the address of who is connected.
        """
        endpoint = self._endpoints.get(place.source)
        if endpoint is None or not _has_token(endpoint.source, place.token, target):
            self._log_missed(endpoint.source.name if endpoint else "", target, headers, peer)
            raise answers.not_found()
        source, provider = endpoint.source, endpoint.provider
        if method not in provider.METHODS:
            raise answers.wrong_method(provider.METHODS)
        wanted = _joined(headers, endpoint.headers)
        address = self._proxies.client(peer, wanted.get("x-forwarded-for"))
        reason = None
        try:
            check_address(source, address)
        except Rejected as rejected:
            reason = rejected.reason
            if not self._quarantine.has_room(source.name, address):
                self._quarantine.drop(source.name)
                raise self._rejected(source, reason, address) from None
        limit = min(self._settings.body_limit_bytes, provider.BODY_LIMIT_BYTES)
        answers.check_head(wanted, limit)
        return Admitted(endpoint, method, target, wanted, address, limit, peer, headers, reason)

    def take(self, admitted: Admitted, body: bytes, answer: Callable[[Answer], None]) -> None:
        """Verifies the callback and sends it to the disk; calls `answer` once it is there, or could not be brought
        there. Raises Refusal, or what a fault of ours raises."""
        began = perf_counter()
        endpoint, method, target, headers, remote_ip, *_ = admitted
        source, provider = endpoint.source, endpoint.provider
        now = self._now()
        arrival = Arrival.of(
            id=new_id(now),
            source=source.name,
            provider=source.provider,
            received_at=now,
            method=method,
            target=target,
            headers=headers,
            body=body,
            remote_ip=remote_ip,
        )
        try:
            if admitted.reason is not None:
                raise Rejected(admitted.reason)
            proof = endpoint.proofs[prove(provider, arrival, source)]
        except Rejected as rejected:
            place = _joined(admitted.all_headers, _PLACE_HEADERS)
            self._quarantine.add(arrival, rejected.reason, source, admitted.peer, place)
            raise self._rejected(source, rejected.reason, remote_ip) from None

        def done(error: Unavailable | None) -> None:
            if error is not None:
                answer(self.refuse(source.name, error))
                return
            _acknowledge_seconds(source.name).observe(perf_counter() - began)
            _proofs(source.name, proof).inc()
            _requests(source.name, "accepted").inc()
            answer(_acknowledgement(provider, arrival.id))

        self._committer.commit(arrival.kept(provider.HEADERS), done)

    def refuse(self, source_name: str, error: BaseException) -> Answer:
        """What a caller gets instead. Anything but a Refusal is our own failure, and never looks like one of the
        provider's (promise P6)."""
        endpoint = self._endpoints.get(source_name)
        name, reply = (endpoint.source.name, endpoint.provider.REPLY) if endpoint else ("", None)
        if not isinstance(error, Refusal):
            if not isinstance(error, Unavailable):
                self._log.error("request failed", {"source": name, "error": type(error).__name__}, exc_info=error)
            error = answers.unavailable(self._settings.retry_after_seconds)
        _requests(name, error.outcome).inc()
        if error.outcome not in _LOGGED:
            self._log.warning("refused", {"source": name, "outcome": error.outcome}, why=error.message)
        return answers.in_words_of(reply, error)

    def missed(self, target: str, headers: Iterable[tuple[bytes, bytes]], peer: str | None) -> None:
        """Counts and logs a request for no callback address that looks like one: its sender has a wrong URL."""
        if "callback" in target.partition("?")[0].lower():
            _requests("", "not_found").inc()
            self._log_missed("", target, headers, peer)

    def _log_missed(
        self, source_name: str, target: str, headers: Iterable[tuple[bytes, bytes]], peer: str | None
    ) -> None:
        path = shown_path(target, self._tokens)
        address = self._proxies.client(peer, _joined(headers, _FORWARDED).get("x-forwarded-for"))
        self._log.warning("no such callback address", {"source": source_name}, path=path, address=address)

    def gone(self, source_name: str) -> None:
        """Counts a caller that hung up before its body was complete."""
        _requests(source_name if source_name in self._endpoints else "", "gone").inc()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same through ASGI. `scope["path_params"]` names the place."""
        place = Place(scope["path_params"]["source"], scope["path_params"].get("token"))
        query = scope["query_string"]
        target = (scope["raw_path"] + (b"?" + query if query else b"")).decode("latin-1")
        peer = scope["client"][0] if scope.get("client") else None
        is_read = False
        try:
            admitted = self.admit(place, scope["method"], target, scope["headers"], peer)
            body = await answers.read_body(
                receive, admitted.headers, admitted.body_limit_bytes, self._settings.body_seconds
            )
            is_read = True
            answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            self.take(admitted, body, lambda answer: None if answered.done() else answered.set_result(answer))
            answer = await answered
        except Gone:
            self.gone(place.source)
        except Exception as error:
            await answers.send_answer(send, self.refuse(place.source, error), close=not is_read)
        else:
            await answers.send_answer(send, answer, close=False)

    def _rejected(self, source: Source, reason: str, address: str | None) -> Refusal:
        REFUSALS.labels(source.name, reason).inc()
        self._log.warning("rejected", {"source": source.name, "reason": reason}, address=address)
        return answers.not_proven()


def place_in(path: str) -> Place | None:
    """The callback address in a path that is still percent-encoded, with or without a slash at its end."""
    match path.removesuffix("/").split("/"):
        case ["", "callbacks", source] if source:
            return Place(unquote(source), None)
        case ["", "callbacks", source, token] if source and token:
            return Place(unquote(source), unquote(token))
    return None


def shown_path(target: str, tokens: Container[str]) -> str:
    """What a log may have of a path that is no callback address: its beginning, up to a source's name, no token."""
    parts = target.partition("?")[0][:PATH_CHARS].split("/")
    names = [place for place, part in enumerate(parts) if "callback" in part.lower()]
    kept = parts[: names[0] + 2] if names else parts[:2]
    shown = "/".join("…" if unquote(part) in tokens else part for part in kept)
    return shown if len(kept) == len(parts) else f"{shown}/…"


def _acknowledgement(provider: Provider, id: UUID) -> Answer:
    """What a provider gets whose callback is on disk, in its own words, with the id under which it is kept."""
    reply = provider.REPLY
    headers: answers.Headers = ((b"x-callbox-id", str(id).encode()),)
    if reply.content_type:
        headers += ((b"content-type", reply.content_type.encode()),)
    return Answer(reply.status, headers, reply.body)


def _joined(headers: Iterable[tuple[bytes, bytes]], wanted: Mapping[bytes, str]) -> dict[str, str]:
    """Those headers that are wanted; one that is repeated is joined, so that two signatures make a wrong one."""
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = wanted.get(raw_name)
        if name is not None:
            value = raw_value.decode("latin-1")
            found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _has_token(source: Source, in_path: str | None, target: str) -> bool:
    """Whether the request carries the source's token, in its path or its query. A source without one takes none."""
    if source.token is None:
        return in_path is None
    return same_token(source.token, in_path if in_path is not None else token_in(target.partition("?")[2]))
