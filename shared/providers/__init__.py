"""One file per provider, found by its name. To add one, add its file here and its cases in `tests/providers/`."""

import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from typing import NamedTuple, Protocol, cast

from shared import signing
from shared.callback import Arrival, Callback, Request
from shared.errors import Malformed, Rejected
from shared.events import Event
from shared.providers._kit.steps import WITHOUT_SECRETS, Step
from shared.source import Option, Source


class Reply(NamedTuple):
    """The words a provider expects back: `body` when its callback is acknowledged, `error` when it is not.

    Without an `error` of its own a provider gets one line of JSON.
    """

    body: bytes = b""
    content_type: str | None = None
    error: bytes | None = None
    status: int = 200


class Console(NamedTuple):
    """What is to be done where the provider is configured: where the URL of a source goes, and what each variable of
    EXAMPLE is. Some are made up by us (`made`, what to do with it), the others are the provider's (`given`, which one
    is meant). `fragment` is what the URL ends in there."""

    place: str
    made: Mapping[str, str] = {}
    given: Mapping[str, str] = {}
    fragment: str = ""


class Provider(Protocol):
    """What a provider's file defines, after a docstring with the facts and where they are from."""

    METHODS: tuple[str, ...]  # the HTTP methods it uses
    HEADERS: frozenset[str]  # headers that `parse` needs, lower case; never a credential
    PROOF_HEADERS: frozenset[str]  # every header that `verify` reads, lower case
    BODY_LIMIT_BYTES: int  # of its largest callback, with room; the ingress refuses a longer body unread
    FIELDS: frozenset[str]  # every field its documentation names; another one is noted, and counted
    SIGNS: bool  # whether any kind of its callbacks can be signed
    TIMEZONE: str  # the zone of its times without one
    OPTIONS: Mapping[str, Option]  # its own keys in a source's configuration
    EXAMPLE: str  # the keys of an example source in TOML, `${NAME}` for each secret; a comment begins with `# `
    CONSOLE: Console  # what to do at the provider for that example
    REPLY: Reply

    def verify(self, arrival: Arrival, source: Source) -> str:
        """What proved the callback (`secret-1`, `token`, `unsigned`): raises Rejected when nothing does.

        The source has secrets: `prove` sees to the others. A refusal costs at most some three times the hash of the
        same bytes: strangers cause it.
        """

    PROOF: tuple[Step, ...]  # the steps of `verify`, each reason for which it refuses in one of them

    def parse(self, callback: Callback, source: Source) -> Iterator[Event | Malformed]:
        """The events in it, a Malformed in the place of each that cannot be understood.

        Raises Malformed when the callback as a whole cannot be. Pure: no clock, no input or output.
        """

    def render(self, event: Event) -> Request:
        """The request in which the provider would report this event."""

    def sign(self, request: Request, source: Source) -> Request:
        """The request as the provider signs it with the source's first secret; unchanged if it never signs this kind.

        The source has secrets, as above.
        """


def _load() -> dict[str, Provider]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return {name: cast(Provider, import_module(f"{__name__}.{name}")) for name in names}


PROVIDERS: Mapping[str, Provider] = _load()
_WRONG = "signature_wrong"


def prove(provider: Provider, arrival: Arrival, source: Source) -> str:
    """What proved the callback: a secret (`secret-1`), `token` or `unsigned`. Raises Rejected when nothing does.

    Without secrets no signature can be checked, so a token or `unsigned` must do, whatever the provider.
    """
    if not source.secrets:
        return signing.proof_without_signature(source)
    return provider.verify(arrival, source)


class Finding(NamedTuple):
    """What a step of a proof found, and the reason for which the proof ends there (None: it goes on)."""

    step: str
    found: str
    reason: str | None


def explain(provider: Provider, arrival: Arrival, source: Source) -> Iterator[Finding]:
    """The steps of a proof up to the one that refuses, as `prove` takes them. None of them refuses what it accepts.

    They show no secret, and nothing of a signature, a body or a query.
    """
    refusal = refusal_of(provider, arrival, source)
    for name, reasons, find in provider.PROOF if source.secrets else WITHOUT_SECRETS:
        found, ends = find(arrival, source), refusal in reasons
        if found and _WRONG in reasons:
            found = f"{found}; {_matching(provider, arrival, source)}"
        if found or ends:
            yield Finding(name, found, refusal if ends else None)
        if ends:
            return


def refusal_of(provider: Provider, arrival: Arrival, source: Source) -> str | None:
    """The reason for which `prove` refuses; None when it does not."""
    try:
        prove(provider, arrival, source)
    except Rejected as rejected:
        return rejected.reason
    return None


def is_signed_by(provider: Provider, arrival: Arrival, source: Source) -> bool:
    """Whether one of the source's secrets made the signature; what comes behind that step may still refuse."""
    refusal = refusal_of(provider, arrival, source)
    if refusal is None:
        return True
    reasons = [step.reasons for step in provider.PROOF]
    secret = next((number for number, each in enumerate(reasons) if _WRONG in each), len(reasons))
    return any(refusal in each for each in reasons[secret + 1 :])


def _matching(provider: Provider, arrival: Arrival, source: Source) -> str:
    """Which secrets made the signature, by their positions in the configuration."""
    numbered = enumerate(source.secrets, 1)
    found = [n for n, secret in numbered if is_signed_by(provider, arrival, replace(source, secrets=(secret,)))]
    count = len(source.secrets)
    if found:
        return f"secret {found[0]} of {count} made it"
    return "the secret did not make it" if count == 1 else f"none of {count} secrets made it"


def sign(request: Request, source: Source) -> Request:
    """The request as its provider would sign it for the source; unchanged, if the source has no secrets."""
    return PROVIDERS[source.provider].sign(request, source) if source.secrets else request
