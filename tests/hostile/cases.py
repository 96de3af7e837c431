"""The fuzzer's requests: one for each number of a seed, made of every provider's cases and simulator, and its bytes."""

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from msgspec.structs import replace

from deploy.local import simulator
from shared import providers
from shared.callback import Request
from shared.errors import Malformed
from shared.providers import PROVIDERS
from shared.source import Source
from tests.hostile import framing
from tests.hostile.mutants import AFTER, BEFORE, Mutant, flipped
from tests.providers.support import cases, request_in

SIMULATED = 0.4  # of the requests; the others are of the cases
TRAILERS = (b"x: y\r\n", b"Content-Length: 3\r\n", b"X-Forwarded-For: 192.0.2.7\r\n")
CUT_MOST = 6  # pieces of a request that is written bit by bit
OF_ANOTHER = "a secret of somebody else"


class Case(NamedTuple):
    """What is sent at once: bytes, in these pieces."""

    pieces: list[bytes]
    done: list[list[str]]  # to each of its requests, before they became bytes: mutants and writers by name
    to_bytes: list[str]  # what was done to the bytes

    @property
    def wire(self) -> bytes:
        return b"".join(self.pieces)


class Cases:
    """The cases of one seed; a number always gives the same, but for the time of signing."""

    def __init__(self, sources: Mapping[str, Source], seed: int) -> None:
        self._sources = sources
        self._seed = seed
        self._names = list(sources)
        self._known: dict[str, list[Request]] = {provider: [] for provider in PROVIDERS}
        for provider, case in cases():
            self._known[provider].append(request_in(case))

    def __getitem__(self, number: int) -> Case:
        dice = random.Random(f"{self._seed} {number}")
        done: list[list[str]] = [[] for _ in range(dice.choice((1, 1, 1, 1, 1, 1, 1, 2, 3)))]
        to_bytes = ["pipelined"] if len(done) > 1 else []
        wire = b"".join(self._one(dice, steps) for steps in done)
        if dice.random() < 0.06:
            to_bytes.append("bytes flipped")
            wire = flipped(wire, dice, dice.choice((1, 1, 3)))
        if dice.random() < 0.02:
            to_bytes.append("cut off")
            wire = wire[: dice.randrange(1, len(wire))]
        if dice.random() < 0.15:
            to_bytes.append("in pieces")
            places = sorted({0, *(dice.randrange(len(wire)) for _ in range(dice.randrange(1, CUT_MOST)))})
            return Case([wire[a:b] for a, b in zip(places, [*places[1:], len(wire)], strict=True)], done, to_bytes)
        return Case([wire], done, to_bytes)

    def _one(self, dice: random.Random, done: list[str]) -> bytes:
        source = self._sources[dice.choice(self._names)]
        request = self._plain(source, dice)
        request = _mutated(request, dice, BEFORE, dice.choice((0, 1, 1, 2, 3)), done)
        request = _signed(request, source, dice, done)
        request = _mutated(request, dice, AFTER, dice.choice((0, 0, 0, 1, 1, 2)), done)
        if dice.random() < 0.03:
            done.append("to another source")
            other = self._sources[dice.choice(self._names)]
            request = replace(request, path=_path(other))
        name, write = dice.choice(WRITERS)
        done.append(name)
        return write(request, dice)

    def _plain(self, source: Source, dice: random.Random) -> Request:
        if dice.random() < SIMULATED or not self._known[source.provider]:
            kind: simulator.Kind = dice.choice(("mo", "dr"))
            request = PROVIDERS[source.provider].render(simulator.event(kind, datetime.now(UTC), dice))
        else:
            request = dice.choice(self._known[source.provider])
        query = request.query if request.query.isascii() and request.query.isprintable() else ""
        return replace(request, path=_path(source), query=query.replace(" ", "%20"), headers=_lower(request.headers))


def _path(source: Source) -> str:
    return f"/callbacks/{source.name}" + (f"/{source.token}" if source.token else "")


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _mutated(
    request: Request, dice: random.Random, mutants: tuple[Mutant, ...], count: int, done: list[str]
) -> Request:
    for mutant in dice.choices(mutants, k=count):
        request = mutant(request, dice)
        done.append(mutant.__name__)
    return request


def _signed(request: Request, source: Source, dice: random.Random, done: list[str]) -> Request:
    """Signed with the newest secret as a rule; else with the older one, a wrong one, or not, or a moment ago."""
    if not source.secrets:
        return request
    choice = dice.random()
    secret = source.secrets[0]
    if choice < 0.06:
        done.append("not signed")
        return request
    if choice < 0.12:
        done.append("wrongly signed")
        secret = OF_ANOTHER
    elif choice < 0.2:
        secret = source.secrets[-1]
    if choice > 0.95 and "action" in request.headers:
        done.append("signed long ago")
        long_ago = str(int(datetime.now(UTC).timestamp() * 1000) - dice.choice((400_000, -400_000, 10**12)))
        request = replace(request, headers={**request.headers, "ts": long_ago})
    signing = Source(**{name: getattr(source, name) for name in source.__dataclass_fields__} | {"secrets": (secret,)})
    try:
        return providers.sign(request, signing)
    except (ValueError, KeyError, Malformed):  # what this provider could not sign
        done.append("not signed")
        return request


# ---- on the wire


def _with_length(request: Request, dice: random.Random) -> bytes:
    return framing.request(request.method, framing.target(request), request.body, request.headers.items())


def _odd_head(request: Request, dice: random.Random) -> bytes:
    """Other cases, blanks and an order of the headers that mean the same."""
    headers = [*request.headers.items(), ("content-length", str(len(request.body))), ("host", "callbox")]
    blanks = ("", " ", "  ", "\t")
    lines = [
        f"{dice.choice((name.upper(), name.title(), name))}:{dice.choice(blanks)}{value}{dice.choice(blanks)}"
        for name, value in dice.sample(headers, len(headers))
    ]
    first = f"{request.method} {framing.target(request)} HTTP/{dice.choice(('1.1', '1.1', '1.0'))}"
    head = "\r\n".join([*[""] * dice.choice((0, 0, 1, 2)), first, *lines, "", ""])
    return head.encode("latin-1", "replace") + request.body


def _chunked(request: Request, dice: random.Random) -> bytes:
    wire = framing.chunked(request.method, framing.target(request), request.headers.items())
    size = max(1, dice.choice((1, 7, 100, 4096, len(request.body))), len(request.body) // 200)
    extension = dice.choice((b"", b"", b";a=b", b";x"))
    for begins in range(0, len(request.body), size):
        wire += framing.chunk(request.body[begins : begins + size], extension)
    trailers = dice.choice((b"", b"", b"", b"", *TRAILERS)) if dice.random() > 0.005 else b"Connection: close\r\n"
    return wire + b"0\r\n" + trailers + b"\r\n"


def _signature_as_trailer(request: Request, dice: random.Random) -> bytes:
    kept = {name: value for name, value in request.headers.items() if name == "content-type"}
    moved = [(name, value) for name, value in request.headers.items() if name not in kept]
    return framing.in_chunks(replace(request, headers=kept), (), moved)


def _other_length(request: Request, dice: random.Random) -> bytes:
    """A length that does not fit the body, or two of them, or a length beside chunks."""
    length = len(request.body)
    other = dice.choice((length + 1, max(0, length - 1), 0, 10**9))
    lengths: list[tuple[str, str]] = dice.choice(
        (
            [("Content-Length", str(other))],
            [("Content-Length", str(length)), ("Content-Length", str(other))],
            [("Content-Length", str(length)), ("Transfer-Encoding", "chunked")],
            [("Transfer-Encoding", "identity"), ("Content-Length", str(length))],
            [("Content-Length", f"+{length}")],
        )
    )
    return framing.head(request.method, framing.target(request), [*request.headers.items(), *lengths]) + request.body


Write = Callable[[Request, random.Random], bytes]
WRITERS: tuple[tuple[str, Write], ...] = (
    *[("with a length", _with_length)] * 12,
    *[("odd head", _odd_head)] * 3,
    *[("chunked", _chunked)] * 6,
    ("signature as a trailer", _signature_as_trailer),
    ("other length", _other_length),
)
