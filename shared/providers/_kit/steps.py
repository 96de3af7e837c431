"""The steps of a proof, for a person who asks why a request is refused. `verify` decides; a step shows what there is.

What a step finds shows no secret and nothing of a signature, a body or a query.
"""

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

from shared import signing
from shared.callback import Arrival
from shared.signing import DIGEST_BYTES, Hash, Reason
from shared.source import Source

Find = Callable[[Arrival, Source], str]

_HASHES: Mapping[Hash, str] = {"md5": "MD5", "sha1": "SHA-1", "sha256": "SHA-256", "sha512": "SHA-512"}
_PREFIX = re.compile(r"(md5|sha1|sha256|sha512|v[0-9])=", re.IGNORECASE)
_KNOWN_ALGORITHMS = re.compile(r"none|(HS|RS|ES|PS)(256|384|512)|EdDSA|ES256K")
_TIMES = ("exp", "nbf", "iat")


class Step(NamedTuple):
    """A step of a proof: its name, the reasons for which `verify` refuses there, and what it finds.

    An empty text means that the step does not apply to the request.
    """

    name: str
    reasons: tuple[Reason, ...]
    find: Find


WITHOUT_SECRETS = (
    Step("secret", ("unsigned",), lambda _, source: f"the source has none, so no signature is read; {_or(source)}"),
)


def unsigned_step(is_unsigned: Callable[[Arrival], bool], kind: str) -> Step:
    """Of a kind that the provider never signs."""
    return Step(
        "kind",
        ("unsigned",),
        lambda arrival, source: f"{kind}, which is never signed; {_or(source)}" if is_unsigned(arrival) else "",
    )


def where(applies: Callable[[Arrival], bool], steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps, for the requests that they apply to."""
    return tuple(Step(name, reasons, _where(applies, find)) for name, reasons, find in steps)


def signature_steps(header: str, algorithm: Hash, written: Literal["hex", "base64"]) -> tuple[Step, Step]:
    """Of a signature in a header: is it there, and is it one?"""
    size = DIGEST_BYTES[algorithm]
    wanted = f"{2 * size} hex digits" if written == "hex" else f"Base64 of {size} bytes"

    def form(arrival: Arrival, source: Source) -> str:
        return f"{wanted} ({_HASHES[algorithm]}) expected, {_look_of(arrival.headers.get(header, ''))} found"

    return (
        Step("header", ("signature_missing",), lambda arrival, _: _presence(arrival, header)),
        Step("form", ("signature_malformed",), form),
    )


def secret_step(covers: str) -> Step:
    """Which secret made the signature; the positions are added by who asks."""
    return Step("secret", ("signature_wrong",), lambda _, __: f"the signature is {covers}")


def bearer_steps() -> tuple[Step, ...]:
    """Of a JWT in `Authorization: Bearer`, as `signing.verify_jwt` checks it."""
    return (
        Step("header", ("signature_missing",), lambda arrival, _: _presence(arrival, "authorization")),
        Step("form", ("signature_malformed",), _form_of_bearer),
        Step("algorithm", ("algorithm_refused",), _algorithm),
        secret_step("that of a JWT, which covers neither body nor URL"),
        Step("claims", ("claims_malformed",), _claims_found),
        Step("clock", ("token_expired", "token_not_yet_valid"), _clock),
    )


def apart(moment: float, arrival: Arrival) -> str:
    """How far a time (seconds of the Unix epoch) is from that of receipt."""
    seconds = moment - arrival.received_at.timestamp()
    side = "after" if seconds > 0 else "before"
    return f"{abs(seconds):,.0f} s {side} it came"


def _where(applies: Callable[[Arrival], bool], find: Find) -> Find:
    return lambda arrival, source: find(arrival, source) if applies(arrival) else ""


def _or(source: Source) -> str:
    if source.token:
        return "the token of its URL is its proof"
    return "`unsigned = true` accepts it" if source.unsigned else "it has neither a token nor `unsigned = true`"


def _presence(arrival: Arrival, header: str) -> str:
    return f"{header} is {'there' if arrival.headers.get(header, '').strip() else 'missing'}"


def _look_of(text: str) -> str:
    """What a signature looks like, without any of it."""
    if ", " in text:
        return "more than one value"
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return "quotation marks around it"
    if prefix := _PREFIX.match(text):
        return f"`{prefix[0].lower()}` before it"
    if re.fullmatch(r"[0-9A-Fa-f]+", text):
        return f"{len(text)} hex digits"
    try:
        return f"Base64 of {len(base64.b64decode(text.encode('ascii'), validate=True))} bytes"
    except ValueError:
        return f"{len(text)} characters that are neither hex nor Base64"


def _form_of_bearer(arrival: Arrival, source: Source) -> str:
    scheme, _, token = arrival.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return "`Bearer` and a JWT expected, another scheme found"
    return f"`Bearer` and a JWT of three parts expected, {len(token)} characters in {token.count('.') + 1} found"


def _algorithm(arrival: Arrival, source: Source) -> str:
    name = _json_part(arrival, 0).get("alg")
    is_known = isinstance(name, str) and _KNOWN_ALGORITHMS.fullmatch(name)
    return f"HS256, HS384 or HS512 expected, {name if is_known else 'another'} found"


def _claims_found(arrival: Arrival, source: Source) -> str:
    names = [name for name in _TIMES if name in _json_part(arrival, 1)]
    return f"it has {', '.join(names)}" if names else "it has no exp, nbf or iat: the token has no end"


def _clock(arrival: Arrival, source: Source) -> str:
    times = {name: _seconds(_json_part(arrival, 1).get(name)) for name in _TIMES}
    found = [f"{name} {apart(moment, arrival)}" for name, moment in times.items() if moment is not None]
    return f"{', '.join(found)}; {signing.LEEWAY_SECONDS} s are allowed" if found else ""


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e12 else None


def _json_part(arrival: Arrival, place: int) -> dict[str, Any]:
    """Header (0) or claims (1) of a JWT that proves nothing yet; empty where they cannot be read."""
    try:
        part = arrival.headers.get("authorization", "").partition(" ")[2].split(".")[place]
        found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, IndexError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
