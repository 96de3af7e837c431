"""A hostile client: a coroutine that attacks until it is cancelled. Its file registers it here, see clients.py."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.hostile.got import Got
from tests.hostile.system import ATTACKERS

if TYPE_CHECKING:
    from tests.hostile.attack import Attack

Run = Callable[["Attack"], Awaitable[None]]  # without end
Expectation = Callable[[Got], str]

LIMIT_BYTES = 500_000_000


@dataclass(frozen=True)
class Client:
    """A hostile client, and what must be true of what it gets."""

    name: str
    sentence: str  # what it does
    run: Run
    may_accept: bool = False  # some of its requests are proven: an acceptance is right
    ends: str = (
        ""  # the deadline that must end its connections: head, body, answer or idle; empty for those that may stay
    )
    may_fill: bool = False  # it may take every connection there is: a new one may be refused then
    expect: Expectation | None = None  # what is wrong with what it got, empty when nothing is
    limit_bytes: int = LIMIT_BYTES  # it sends no more
    addresses: Sequence[str] = ATTACKERS[:1]


REGISTERED: dict[str, Client] = {}


def client(
    name: str,
    sentence: str,
    *,
    may_accept: bool = False,
    ends: str = "",
    may_fill: bool = False,
    expect: Expectation | None = None,
    limit_bytes: int = LIMIT_BYTES,
    addresses: Sequence[str] = ATTACKERS[:1],
) -> Callable[[Run], Run]:
    """Registers the coroutine under this name."""

    def register(run: Run) -> Run:
        assert name not in REGISTERED, name
        REGISTERED[name] = Client(name, sentence, run, may_accept, ends, may_fill, expect, limit_bytes, addresses)
        return run

    return register


def none_accepted(got: Got) -> str:
    """An expectation: everything was refused, although the signature was right."""
    return f"{len(got.ids)} accepted that had to be refused" if got.ids else ""


def all_answered(got: Got) -> str:
    """An expectation: each request that the client counted was accepted, but for the last ones under way."""
    if not got.requests:
        return "no request was answered"
    missing = got.requests - len(got.ids)
    return f"{missing} of {got.requests} requests were not answered by 2XX" if missing > 0 else ""
