"""Providers that know two ingresses: what one does not accept goes to the other, unless its provider sends once."""

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from shared.source import Source
from tests.faults.stored import Body
from tests.faults.traffic import Traffic
from tests.load.client import Answer, Client

ANSWER_SECONDS = 10.0  # a provider's patience
CONNECTIONS = 32  # of each sender
ONCE_ONLY = ("nxcloud",)  # providers that never send a callback again


class _Sent(NamedTuple):
    number: int  # in `traffic.bodies`
    body: Body
    wire: bytes


class _Sender:
    """Sends to one ingress: first what the other one did not accept, then what comes next."""

    def __init__(self, url: str, senders: "Senders") -> None:
        self._client = Client(url, CONNECTIONS, ANSWER_SECONDS)
        self._senders = senders
        self._sent: list[_Sent] = []
        self._again: deque[tuple[Body, bytes]] = deque()
        self.answers: list[Answer] = []  # their numbers are those of this sender
        self.other = self

    async def run(self, per_second: float) -> None:
        await self._client.run(self._requests(), per_second, self._note)

    def _requests(self) -> Iterator[bytes]:
        traffic = self._senders.traffic
        while not traffic.ended:
            if self._again:
                body, wire = self._again.popleft()
                traffic.bodies.append(body)
            else:
                wire = next(self._senders.wires)
                body = traffic.bodies[-1]
            self._sent.append(_Sent(len(traffic.bodies) - 1, body, wire))
            yield wire

    def _note(self, answer: Answer) -> None:
        sent = self._sent[answer.number]
        self.answers.append(answer)
        self._senders.answers.append(answer._replace(number=sent.number))
        if not is_accepted(answer) and self._senders.is_sent_again(sent.body):
            self.other._again.append((sent.body, sent.wire))


class Senders:
    """All providers."""

    def __init__(self, urls: tuple[str, str], sources: dict[str, Source], traffic: Traffic) -> None:
        self.traffic = traffic
        self.wires = iter(traffic)
        self.answers: list[Answer] = []  # their numbers are those of `traffic.bodies`
        self._once_only = {name for name, source in sources.items() if source.provider in ONCE_ONLY}
        one, two = self._senders = _Sender(urls[0], self), _Sender(urls[1], self)
        one.other, two.other = two, one

    async def run(self, per_second: float) -> None:
        """Until the traffic ends, half to each ingress."""
        await asyncio.gather(*(sender.run(per_second / 2) for sender in self._senders))

    def answers_of(self, ingress: int) -> list[Answer]:
        return self._senders[ingress].answers

    def is_sent_again(self, body: Body) -> bool:
        return body[0] not in self._once_only


def is_accepted(answer: Answer) -> bool:
    return 200 <= answer.status < 300
