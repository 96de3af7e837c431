"""The fuzzer: sends the cases of a seed over a few connections, and judges every answer by the oracle.

Whatever was acknowledged must have been proven by the bytes that were sent, and what was read without doubt must be
answered, within seconds, and never by 5XX.
"""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import uvloop

from shared import config
from shared.providers import PROVIDERS
from tests.hostile import oracle, wire
from tests.hostile.answers import Reply
from tests.hostile.attack import Target
from tests.hostile.cases import Case, Cases
from tests.hostile.got import Got
from tests.hostile.peer import Closed, Peer, connect
from tests.hostile.system import ATTACKERS
from tests.providers.support import tables

CONNECTIONS = 64  # many wait for an answer that may not come
ADDRESS = ATTACKERS[-1]
ANSWER_SECONDS = 15.0  # for a request that is whole; a provider's patience
DOUBTFUL_SECONDS = 0.3  # for one that is not, or that can be read in two ways
FINDINGS_OF_A_KIND = 2  # written down, at most
BODY_BYTES, HEAD_BYTES, HEADERS = 64 * 1024, 60_000, 90  # what every version takes
LIMIT_BYTES = 10**12
OPEN_PATHS = ("/healthz", "/readyz", "/metrics")


class Kept(NamedTuple):
    """What must be stored of a callback that was acknowledged."""

    number: int
    source: str
    method: str
    digest: bytes  # of the body
    signed: bool  # whether it came to a source with secrets with any sign of a signature


@dataclass
class Found:
    """What the fuzzer saw."""

    seed: int
    requests: int = 0
    outcomes: "Counter[str]" = field(default_factory=Counter)
    done: "Counter[str]" = field(default_factory=Counter)  # how often each thing was done to a request
    accepted_done: "Counter[str]" = field(default_factory=Counter)  # of those, how many were accepted
    accepted: dict[str, Kept] = field(default_factory=dict)
    not_judged: "Counter[str]" = field(default_factory=Counter)  # acceptances, by provider without a rule
    doubtful_ids: list[str] = field(default_factory=list)  # acknowledged, but which request it was is not certain
    slowest_seconds: float = 0.0
    findings: list[str] = field(default_factory=list)  # a line for each that was written down
    kinds: "Counter[str]" = field(default_factory=Counter)  # of all findings: what is wrong, and how it was written


class _Heard(Got):
    """Keeps each answer of one connection."""

    def __init__(self) -> None:
        super().__init__(LIMIT_BYTES)
        self.replies: list[Reply] = []  # to the case under way
        self.numbers: list[int] = []  # of the cases that this connection has carried

    def note(self, reply: Reply) -> None:
        if reply.status >= 200 or not reply.status:
            self.replies.append(reply)


def run(target: Target, seed: int, numbers: Sequence[int], folder: Path) -> Found:
    """Sends the cases of these numbers; called in the process of the attackers. Findings are written to the folder."""
    fuzzer = _Fuzzer(target, seed, folder)
    uvloop.run(fuzzer.send_all(numbers))
    return fuzzer.found


class _Fuzzer:
    def __init__(self, target: Target, seed: int, folder: Path) -> None:
        self._port = target.port
        self._sources = config.load(target.configuration, {}, PROVIDERS).sources
        self._cases = Cases(self._sources, seed)
        self._folder = folder
        self.found = Found(seed)

    async def send_all(self, numbers: Sequence[int]) -> None:
        left = iter(numbers)

        async def some() -> None:
            heard, peer = _Heard(), None
            for number in left:
                if peer is None or peer.ended:
                    heard = _Heard()
                    peer = await connect(heard, self._port, ADDRESS)
                heard.numbers.append(number)
                if not await self._send(self._cases[number], peer, heard):
                    peer.reset()
                    peer = None
            if peer is not None:
                peer.reset()

        await asyncio.gather(*(some() for _ in range(CONNECTIONS)))

    async def _send(self, case: Case, peer: Peer, heard: _Heard) -> bool:
        """Sends one case and judges what comes back. Whether the connection can be used for the next."""
        sent, state = wire.read_all(case.wire)
        heard.replies.clear()
        began, now = time.monotonic(), time.time()
        wanted = len(sent) + (state != "complete")
        overdue = False
        try:
            for piece in case.pieces:
                await peer.send(piece)
                if len(case.pieces) > 1:
                    await asyncio.sleep(0.001)
            await _replied(peer, heard, len(sent), ANSWER_SECONDS)
            self.found.slowest_seconds = max(self.found.slowest_seconds, time.monotonic() - began if sent else 0.0)
            await _replied(peer, heard, wanted, DOUBTFUL_SECONDS)
        except TimeoutError:
            overdue = len(heard.replies) < len(sent)
        except Closed:
            pass
        self._judge(case, sent, state, heard, now, overdue)
        last = heard.replies[-1] if heard.replies else None
        return state == "complete" and len(heard.replies) == wanted and last is not None and not last.closes

    def _judge(
        self, case: Case, sent: list[wire.Sent], state: wire.State, heard: _Heard, now: float, overdue: bool
    ) -> None:
        self.found.requests += len(case.done)
        for done in case.done:
            self.found.done.update(done)
        for index, reply in enumerate(heard.replies):
            self.found.outcomes[str(reply.status) if reply.status else "no HTTP"] += 1
            problem = ""
            if reply.status >= 500 or not reply.status:
                problem = f"answered {reply.status or 'what is no HTTP'}"
            elif 200 <= reply.status < 300 and index < len(sent):
                if case.to_bytes in ([], ["pipelined"]):
                    self.found.accepted_done.update(case.done[index])
                problem = self._accepted(heard.numbers[-1], reply, sent[index], now)
            elif 200 <= reply.status < 300:
                self.found.doubtful_ids += [reply.callback_id] if reply.callback_id else []
                problem = f"accepted what is {state}"
            self._write_down(case, index, problem, heard.numbers)
        if overdue:
            self._write_down(case, len(heard.replies), f"no answer within {ANSWER_SECONDS:g} s", heard.numbers)
        elif len(heard.replies) < len(sent) and not any(reply.closes for reply in heard.replies):
            # An answer is lost where its sender goes on behind a request that it called the last one.
            self.found.outcomes["closed"] += 1
            is_lost = any(request.is_last for request in sent[:-1]) or (state != "complete" and sent[-1].is_last)
            if not is_lost and self._is_due(sent[len(heard.replies)], now):
                self._write_down(case, len(heard.replies), "a proven request was not answered", heard.numbers)

    def _accepted(self, number: int, reply: Reply, sent: wire.Sent, now: float) -> str:
        """What is wrong with this acceptance; empty when nothing is."""
        source = oracle.source_of(sent, self._sources)
        if not reply.callback_id:
            return "" if sent.target.partition("?")[0] in OPEN_PATHS else "2XX without an id"
        if source is None:
            return "accepted, and the oracle finds no source"
        signature = tables(source.provider).get("proof", {}).get("header", "")
        digest = hashlib.sha256(sent.body).digest()
        signed = bool(sent.values(signature))
        self.found.accepted[reply.callback_id] = Kept(number, source.name, sent.method, digest, signed)
        if not oracle.can_judge(source):
            self.found.not_judged[source.provider] += 1
        elif not oracle.is_proven(sent, source, ADDRESS, now):
            return f"accepted by {source.name} without proof"
        return ""

    def _is_due(self, sent: wire.Sent, now: float) -> bool:
        """Whether it must be answered by the rules: it is proven, and within the limits of size."""
        source = oracle.source_of(sent, self._sources)
        head_bytes = len(sent.target) + sum(len(name) + len(value) + 4 for name, value in sent.headers)
        fits = len(sent.body) <= BODY_BYTES and head_bytes <= HEAD_BYTES and len(sent.headers) <= HEADERS
        can_judge = source is not None and oracle.can_judge(source)
        return fits and can_judge and source is not None and oracle.is_proven(sent, source, ADDRESS, now)

    def _write_down(self, case: Case, index: int, problem: str, numbers: Sequence[int]) -> None:
        """Writes the bytes to a file, for the first of each kind."""
        if not problem:
            return
        done = case.done[index] if index < len(case.done) else []
        kind = f"{problem} ({done[-1] if done else 'behind the last request'})"
        self.found.kinds[kind] += 1
        if self.found.kinds[kind] <= FINDINGS_OF_A_KIND:
            *before, number = numbers
            path = self._folder / f"{self.found.seed}-{number}.request"
            path.write_bytes(case.wire)
            said = f"seed {self.found.seed}, case {number}, request {index + 1}"
            said += f", on one connection behind {before[-3:]}" if before else ""
            self.found.findings.append(f"{problem}: {path} ({said}; {', '.join([*done, *case.to_bytes])})")


async def _replied(peer: Peer, heard: _Heard, count: int, seconds: float) -> None:
    """Returns once `count` answers came. Raises TimeoutError or Closed."""
    if len(heard.replies) < count:
        async with asyncio.timeout(seconds):
            while len(heard.replies) < count:
                await peer.changed()
