"""A refused request proven again: as it came, when it came, with the configuration of today."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ingress.address import Proxies, check_address
from ingress.mistakes import mistakes
from shared.callback import Arrival, Callback
from shared.config import Config
from shared.errors import Rejected
from shared.providers import Finding, Provider, explain, prove
from shared.refused import Refused
from shared.signing import TOKEN
from shared.source import Source


class Explanation(NamedTuple):
    """What each step of the proof finds today, and which mistakes would explain a refusal."""

    findings: list[Finding]
    mistakes: list[str]

    @property
    def reason(self) -> str | None:
        """Why the request is refused still; None when it is proven."""
        return self.findings[-1].reason


class Reproof:
    """With one configuration."""

    def __init__(self, configuration: Config, providers: Mapping[str, Provider]) -> None:
        self._sources = configuration.sources
        self._providers = providers
        self._proxies = Proxies(configuration.settings.proxy_networks)

    def prove(self, refused: Refused) -> Callback:
        """The callback, as the ingress would have taken it. Raises Rejected when it is not proven."""
        source, provider, arrival = self._now(refused)
        if arrival.method not in provider.METHODS:
            raise Rejected("wrong_method")
        check_address(source, arrival.remote_ip)
        if prove(provider, arrival, source) == TOKEN and not refused.has_token:
            raise Rejected("token_missing")
        return arrival.kept(provider.HEADERS)

    def explain(self, refused: Refused) -> Explanation:
        """Step by step. It shows no secret, and nothing of a signature, a body or a query. Raises Rejected for a source
        that is no more."""
        source, provider, arrival = self._now(refused)
        findings = list(_steps(source, provider, arrival))
        if findings[-1].reason is None and not refused.has_token and prove(provider, arrival, source) == TOKEN:
            findings.append(Finding("token", "it came without one, before the source had its token", "token_missing"))
        if findings[-1].reason != "signature_wrong":
            return Explanation(findings, [])
        found = mistakes(provider, arrival, source, self._sources.values())
        return Explanation(findings, list(dict.fromkeys(found)))

    def _now(self, refused: Refused) -> tuple[Source, Provider, Arrival]:
        """The source as it is now, and the request as it would arrive there. Raises Rejected."""
        source = self._sources.get(refused.callback.source)
        if source is None:
            raise Rejected("source_unknown")
        return source, self._providers[source.provider], refused.arrival(source, self._address(refused, source))

    def _address(self, refused: Refused, source: Source) -> str | None:
        """Where it came from: as it was read then, unless the source takes only what today's trusted proxies make of
        it."""
        then, forwarded = refused.callback.remote_ip, refused.callback.headers.get("x-forwarded-for")
        today = self._proxies.client(refused.peer, forwarded)
        return today if _is_allowed(source, today) and not _is_allowed(source, then) else then


def _is_allowed(source: Source, address: str | None) -> bool:
    try:
        check_address(source, address)
    except Rejected:
        return False
    return True


def _steps(source: Source, provider: Provider, arrival: Arrival) -> Iterator[Finding]:
    """As the ingress takes them."""
    is_known = arrival.method in provider.METHODS
    methods = " or ".join(provider.METHODS)
    yield Finding("method", f"{methods} expected, {arrival.method} found", None if is_known else "wrong_method")
    if not is_known:
        return
    allowed = "one of allow_ips expected" if source.allow_ips else "any address expected"
    found = f"{allowed}, {arrival.remote_ip or 'an unknown one'} found"
    try:
        check_address(source, arrival.remote_ip)
    except Rejected as rejected:
        yield Finding("address", found, rejected.reason)
        return
    yield Finding("address", found, None)
    yield from explain(provider, arrival, source)
