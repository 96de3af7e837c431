"""What becomes of a request on its way to Callbox, seen from outside: name, address, TLS, proxy, path, and a callback.

Nothing of it is stored, unless a signed test callback is asked for: every other request is one that an ingress refuses
before it looks at its proof, so that the answer shows who gave it.
"""

import json
import random
import re
import secrets
import socket
import ssl
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from deploy.checks import Finding
from deploy.local import simulator
from shared.callback import Request
from shared.providers import PROVIDERS
from shared.source import Source

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 20.0
SLOW_SECONDS, PATIENCE_SECONDS = 2.0, 10.0  # for an answer: then a provider may stop waiting
EXPIRY_DAYS = 14  # of a certificate, from which on somebody should renew it
LARGEST_BYTES = 64 * 1024  # of a callback, where the provider is not known
REFUSED_ENCODING = {"content-encoding": "callbox-doctor"}  # has an ingress refuse before it looks for a proof

_PATH = re.compile(r"(?P<prefix>.*?)(?:/callbacks(?:/(?P<source>[^/]+)(?:/(?P<token>[^/]+))?)?)?/?")
_UNTRUSTED = {
    10: "has expired",
    18: "is signed by itself",
    19: "is signed by an authority of its own",
    20: "comes without the certificates between it and an authority, or is of one that is unknown",
    21: "comes without the certificates between it and an authority, or is of one that is unknown",
    62: "is for another name",
    64: "is for another address",
}


class Place(NamedTuple):
    """A URL that a provider is to call: an origin, the path before /callbacks, and the source in it, if one is."""

    scheme: str
    host: str
    port: int
    prefix: str = ""
    source: str | None = None

    @classmethod
    def of(cls, url: str) -> "Place":
        """Raises ValueError, with what is wrong about the URL."""
        try:
            parts = urlsplit(url)
            port = parts.port or {"http": 80, "https": 443}[parts.scheme]
            (parts.hostname or "").encode("idna")
            if not parts.hostname or parts.username:
                raise ValueError
        except (ValueError, KeyError):
            raise ValueError(
                "is not the address that providers call, like https://sms.example.org/callbacks/fleet"
            ) from None
        path = _PATH.fullmatch(parts.path)
        assert path is not None  # noqa: S101 - everything in it is optional
        return cls(parts.scheme, parts.hostname, port, path["prefix"], path["source"] and unquote(path["source"]))

    @property
    def origin(self) -> str:
        """How the URL begins, as a provider writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        is_usual = self.port == {"http": 80, "https": 443}[self.scheme]
        return f"{self.scheme}://{host}{'' if is_usual else f':{self.port}'}{self.prefix}"


class Answer(NamedTuple):
    """An answer to a request, and how long it took."""

    status: int
    headers: Message
    body: bytes
    seconds: float

    @property
    def error(self) -> str | None:
        """The sentence of a refusal, as Callbox writes it; None where the body is something else."""
        with suppress(ValueError):
            document = json.loads(self.body)
            if isinstance(document, dict) and isinstance(document.get("error"), str):
                return str(document["error"])
        return None

    @property
    def kind(self) -> str:
        """The status, and what the body is, for a sentence."""
        kind = self.headers.get_content_type() if self.headers.get("content-type") else "no content type"
        return f"HTTP {self.status}, {kind}"


class Caller:
    """Calls one address of a place, as a provider would. Its certificate is checked elsewhere."""

    def __init__(self, place: Place, address: str) -> None:
        self._place = place
        self._address = address
        self.slowest_seconds = 0.0

    def call(self, request: Request) -> Answer:
        """Raises OSError or HTTPException."""
        connection = self._connection()
        began = time.monotonic()
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent: the answer is there
                connection.request(request.method, self._place.prefix + request.target, request.body, request.headers)
            answer = connection.getresponse()
            found = Answer(answer.status, answer.headers, answer.read(), time.monotonic() - began)
        finally:
            connection.close()
        self.slowest_seconds = max(self.slowest_seconds, found.seconds)
        return found

    def _connection(self) -> HTTPConnection:
        plain = socket.create_connection((self._address, self._place.port), CONNECT_SECONDS)
        plain.settimeout(ANSWER_SECONDS)
        if self._place.scheme == "http":
            connection = HTTPConnection(self._place.host, self._place.port)
            connection.sock = plain
            return connection
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        secure = HTTPSConnection(self._place.host, self._place.port, context=context)
        secure.sock = context.wrap_socket(plain, server_hostname=self._place.host)
        return secure


def examine(place: Place, source: Source | None, sends: bool, now: datetime) -> Iterator[Finding]:
    """What is found, stage by stage; it ends where nothing more can be reached. `source` is the one of the URL, if this
    machine knows it, and `sends` whether signed test callbacks are to be sent."""
    addresses = yield from _resolve(place)
    reached = yield from _connect(place, addresses)
    if not reached:
        return
    is_safe = all(ip_address(address).is_loopback for address in reached)
    if place.scheme == "https":
        about_tls = [finding for address in reached for finding in _check_tls(place, address, now)]
        yield from about_tls
        is_safe = is_safe or all(finding.level != "wrong" for finding in about_tls)
    else:
        yield Finding("wrong", "TLS", "it is missing: everybody on the way reads tokens, numbers and texts")
    caller = Caller(place, reached[0])
    try:
        is_callbox = yield from _check_path(caller, place)
        if is_callbox:
            if source is not None and not is_safe:
                sentence = f"{source.name} is not tried: the connection is not proven to be that of {place.host}"
                yield Finding("wrong", "source", sentence)
                source = None
            if source is not None:
                yield from _check_source(caller, place, source)
            yield from _check_size(caller, source)
            if source is not None and sends:
                yield from _send(caller, source, now)
            yield from _check_time(caller)
    except (OSError, HTTPException) as error:
        yield Finding("wrong", "HTTP", f"the connection ends without an answer ({_why(error)})")


def _resolve(place: Place) -> Generator[Finding, None, list[str]]:
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except OSError as error:
        yield Finding("wrong", "DNS", f"{place.host} has no address ({_why(error)})")
        return []
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    inner = [address for address in addresses if not ip_address(address.partition("%")[0]).is_global]
    if inner:
        what = "is no public address" if len(inner) == 1 else "are no public addresses"
        yield Finding("risky", "DNS", f"{', '.join(inner)} {what}: a provider must find another one")
    if not any("." in address for address in addresses):
        yield Finding("risky", "DNS", f"{place.host} has no IPv4 address: some callers have no IPv6")
    yield Finding("good", "DNS", f"{place.host} is {', '.join(addresses)}")
    return addresses


def _connect(place: Place, addresses: Sequence[str]) -> Generator[Finding, None, list[str]]:
    """Those that answer: a caller may take any of them."""
    reached = []
    for address in addresses:
        began = time.monotonic()
        try:
            socket.create_connection((address, place.port), CONNECT_SECONDS).close()
        except OSError as error:
            yield Finding("wrong", "TCP", f"{address} does not answer at port {place.port} ({_why(error)})")
            continue
        milliseconds = 1000 * (time.monotonic() - began)
        yield Finding("good", "TCP", f"{address} answers at port {place.port} in {milliseconds:.0f} ms")
        reached.append(address)
    return reached


def _check_tls(place: Place, address: str, now: datetime) -> Iterator[Finding]:
    context = ssl.create_default_context()
    try:
        with (
            socket.create_connection((address, place.port), CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=place.host) as secure,
        ):
            certificate, version = secure.getpeercert(), secure.version()
    except ssl.SSLCertVerificationError as error:
        why = _UNTRUSTED.get(error.verify_code, f"is not to be trusted ({error.verify_message})")
        yield Finding("wrong", "TLS", f"the certificate at {address} {why}: providers refuse it")
        return
    except OSError as error:
        yield Finding("wrong", "TLS", f"{address} makes no connection with TLS 1.2 or newer ({_why(error)})")
        return
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str((certificate or {})["notAfter"])), UTC)
    days = (ends - now).days
    if days < EXPIRY_DAYS:
        yield Finding("risky", "TLS", f"the certificate at {address} expires in {days} days: renew it")
    yield Finding("good", "TLS", f"{version}, a certificate for {place.host} that is valid until {ends:%Y-%m-%d}")


def _check_path(caller: Caller, place: Place) -> Generator[Finding, None, bool]:
    """Asks for a source that cannot exist. Whether Callbox answers, at the path that was asked for."""
    answer = caller.call(Request(method="GET", path=f"/callbacks/{secrets.token_hex(8)}"))
    if answer.status == 404 and answer.error == "no such callback address":
        yield Finding("good", "path", f"Callbox answers at {place.origin}/callbacks/")
        return True
    yield Finding("wrong", "path", _who_answers(answer, place))
    return False


def _who_answers(answer: Answer, place: Place) -> str:
    if 300 <= answer.status < 400:
        to = urlsplit(answer.headers.get("location", ""))
        return f"redirects to {to.scheme}://{to.netloc}…: providers do not follow, so they must get that address"
    if answer.error == "Not Found":
        return "Callbox answers, but was asked for another path: the proxy changes it; pass /callbacks/… on as it comes"
    if answer.status in (502, 503, 504):
        return f"a proxy answers by itself ({answer.kind}): no ingress answers it"
    return (
        f"something else than Callbox answers ({answer.kind}): does {place.host} pass /callbacks/ on to an ingress, and"
        " every error as it is?"
    )


def _check_source(caller: Caller, place: Place, source: Source) -> Iterator[Finding]:
    """Has an ingress refuse each method of the provider for its content encoding: source and token are right then."""
    public_url = source.options.get("public_url")
    if public_url is not None and public_url.rstrip("/") != place.origin:
        yield Finding("wrong", "source", f"{source.name} has public_url {public_url}, and this URL is {place.origin}")
    provider = PROVIDERS[source.provider]
    for method in provider.METHODS:
        answer = caller.call(Request(method=method, path=_path_of(source), headers=REFUSED_ENCODING))
        if answer.status == 415:
            yield Finding("good", "source", f"{source.name} takes {method}")
        elif answer.status == 401:
            yield Finding("risky", "source", f"{source.name} does not take {method} from here: is it by its allow_ips?")
        elif answer.status == 404:
            sentence = f"the running ingress does not know {source.name}, or has another token: run `callbox reload`"
            yield Finding("wrong", "source", sentence)
            return
        else:
            sentence = f"{method}, which {source.provider} uses, does not reach {source.name} ({answer.kind})"
            yield Finding("wrong", "source", f"{sentence}: does the proxy let it through?")


def _check_size(caller: Caller, source: Source | None) -> Iterator[Finding]:
    """Sends as much as a callback may have, in a request that an ingress refuses by its head."""
    size = PROVIDERS[source.provider].BODY_LIMIT_BYTES if source else LARGEST_BYTES
    path = _path_of(source) if source else f"/callbacks/{secrets.token_hex(8)}"
    answer = caller.call(Request(method="POST", path=path, headers=REFUSED_ENCODING, body=bytes(size)))
    if answer.status in (401, 404, 415):
        yield Finding("good", "size", f"a body of {size} bytes gets through")
    else:
        yield Finding(
            "wrong", "size", f"a body of {size} bytes does not get through ({answer.kind}): raise the proxy's limit"
        )


def _send(caller: Caller, source: Source, now: datetime) -> Iterator[Finding]:
    """One signed test callback of each kind."""
    for kind in simulator.KINDS:
        happened = simulator.event(kind, now, random.Random())  # noqa: S311 - a simulation
        answer = caller.call(simulator.request(source, happened))
        callback_id = answer.headers.get("x-callbox-id")
        if callback_id:
            milliseconds = f"{1000 * answer.seconds:.0f} ms"
            yield Finding("good", "callback", f"a test ({kind}) was accepted as {callback_id} in {milliseconds}")
        else:
            yield Finding(
                "wrong", "callback", f"a test ({kind}) was not accepted ({answer.kind}){_hint(answer, source)}"
            )


def _hint(answer: Answer, source: Source) -> str:
    if answer.status == 401:
        proof = ", ".join(sorted(PROVIDERS[source.provider].PROOF_HEADERS))
        return (
            f": the proof did not arrive as it was sent. Does a proxy drop a header ({proof}), change the body or the"
            " URL, or has the running ingress other secrets (`callbox reload`)?"
        )
    if answer.status < 300:
        return ": something else than Callbox answered, or a proxy drops the header X-Callbox-Id"
    return ""


def _check_time(caller: Caller) -> Iterator[Finding]:
    took = f"the slowest answer took {caller.slowest_seconds:.2f} s"
    if caller.slowest_seconds > PATIENCE_SECONDS:
        yield Finding("wrong", "time", f"{took}: providers stop waiting, and send again")
    elif caller.slowest_seconds > SLOW_SECONDS:
        yield Finding("risky", "time", f"{took}: some providers wait no longer than a few seconds")
    else:
        yield Finding("good", "time", took)


def _path_of(source: Source) -> str:
    return f"/callbacks/{source.name}" + (f"/{source.token}" if source.token else "")


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
