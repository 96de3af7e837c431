"""What providers send during the faults, and what must have become of it: the reference.

Signed callbacks of every provider; receipts of one message in any order; a share of duplicates and of garbage that is
still authentic. The reference is computed from the events that were rendered, never from what was parsed.
"""

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from deploy.local import simulator
from shared import providers
from shared.events import DeliveryReport, Event, Status
from shared.source import Source
from tests.faults.stored import Body, EventKey, Stored
from tests.load.client import Answer, encode

DUPLICATES, GARBAGE = 0.05, 0.03
SHUFFLED = 200  # callbacks that wait their turn, so that receipts overtake each other
POISON = b"callbox-poison"


class Traffic:
    """Requests without end, until `ended` is set."""

    def __init__(self, sources: Mapping[str, Source], dice: random.Random, first_number: int = 10**9) -> None:
        """The numbers of messages begin with the first; those of two runs into one database must not meet."""
        self._sources = list(sources.values())
        self._dice = dice
        self._poison: tuple[Body, bytes] | None = None
        self._numbers = itertools.count(first_number)
        self.ended = False
        self.bodies: list[Body] = []  # of each request, by its number
        self.events: dict[Body, EventKey] = {}  # nothing for garbage and poison
        self.poisoned: set[Body] = set()

    def poison(self) -> None:
        """Has a callback sent that ends the worker that reads it (see sitecustomize.py)."""
        source = next(source for source in self._sources if source.provider == "messente")
        request = simulator.request(source, self._event("mo"))
        bad = msgspec.structs.replace(request, body=request.body.replace(b'"msg_id"', b'"%s":1,"msg_id"' % POISON))
        self._poison = ((source.name, bad.body), encode(providers.sign(bad, source)))
        self.poisoned.add(self._poison[0])

    def __iter__(self) -> Iterator[bytes]:
        waiting: list[tuple[Body, bytes]] = []
        while not self.ended:
            if self._poison is not None:
                body, wire = self._poison
                self._poison = None
                self.bodies.append(body)
                yield wire
            while len(waiting) < SHUFFLED:
                waiting += self._more()
            chosen = self._dice.randrange(len(waiting))
            waiting[chosen], waiting[-1] = waiting[-1], waiting[chosen]
            body, wire = waiting.pop()
            if self._dice.random() < DUPLICATES:
                waiting.append((body, wire))
            self.bodies.append(body)
            yield wire

    def _more(self) -> Iterator[tuple[Body, bytes]]:
        source = self._dice.choice(self._sources)
        event = self._event(self._dice.choice(simulator.KINDS))
        if self._dice.random() < GARBAGE:
            request = simulator.request(source, self._event("mo"))  # every provider that signs signs these
            junk = msgspec.structs.replace(request, body=b"garbage=%d" % next(self._numbers))
            yield (source.name, junk.body), encode(providers.sign(junk, source))
            return
        if isinstance(event, DeliveryReport) and self._dice.random() < 0.5:
            sent_at = datetime.now(UTC) - timedelta(seconds=30)
            yield self._known(source, msgspec.structs.replace(event, status=Status.SENT, occurred_at=sent_at))
        yield self._known(source, event)

    def _event(self, kind: simulator.Kind) -> Event:
        number = str(next(self._numbers))
        return msgspec.structs.replace(
            simulator.event(kind, datetime.now(UTC), self._dice), key=(kind, number), message_id=number
        )

    def _known(self, source: Source, event: Event) -> tuple[Body, bytes]:
        request = simulator.request(source, event)
        body = (source.name, request.body)
        kind, status = ("dr", event.status.value) if isinstance(event, DeliveryReport) else ("mo", "")
        self.events[body] = (source.name, kind, event.message_id, status)
        return body, encode(request)


def judge(
    traffic: Traffic, answers: list[Answer], stored: Stored, damaged: Mapping[UUID, Body]
) -> dict[str, list[str]]:
    """What is lost, doubled or wrong, each with a line for every case; three empty lists are what is promised."""
    lost: list[str] = []
    doubled: list[str] = []
    wrong: list[str] = []
    rows = {row.id: row for row in stored.callbacks}
    if len(rows) != len(stored.callbacks):
        doubled.append(f"{len(stored.callbacks) - len(rows)} callback ids are there more than once")
    acknowledged: Counter[Body] = Counter()
    asked: Counter[Body] = Counter()
    for answer in answers:
        body = traffic.bodies[answer.number]
        asked[body] += 1
        if not 200 <= answer.status < 300:
            continue
        acknowledged[body] += 1
        id = UUID(answer.callback_id)
        row = rows.get(id)
        if row is None:
            if id not in damaged:
                lost.append(f"{id} of {body[0]} was acknowledged and is not there")
        elif (row.source, row.body) != body:
            wrong.append(f"{id} holds another callback's bytes")
    present: Counter[Body] = Counter((row.source, row.body) for row in stored.callbacks)
    for body, count in present.items():
        if count > asked[body] and body in asked:
            doubled.append(f"{count} rows for {asked[body]} requests of {body[0]}")
    unknown = sum(count for body, count in present.items() if body not in asked)
    if unknown != len(damaged):
        wrong.append(f"{unknown} callbacks that nobody sent, {len(damaged)} were damaged on purpose")
    wrong += _events(traffic, stored, present)
    return {"lost": lost, "doubled": doubled, "wrong": wrong}


def _events(traffic: Traffic, stored: Stored, present: "Counter[Body]") -> Iterator[str]:
    expected = {traffic.events[body] for body in present if body in traffic.events}
    for event in expected - stored.events.keys():
        yield f"event {event[1]} {event[3]} of {event[0]} is missing"
    for event, count in stored.events.items():
        if event not in expected or count != 1:
            yield f"event {event[1]} {event[3]} of {event[0]} is there {count} times, expected: {event in expected}"
    yield from _deliveries(expected, stored)
    yield from _outcomes(traffic, stored)
    poisoned = sum(present[body] for body in traffic.poisoned)
    if stored.dead["crashes its worker"] != poisoned:
        yield f"{stored.dead['crashes its worker']} dead letters for {poisoned} poisoned callbacks"


def _deliveries(expected: "set[EventKey]", stored: Stored) -> Iterator[str]:
    receipts: dict[tuple[str, str], list[Status]] = defaultdict(list)
    for source, kind, message_id, status in expected:
        if kind == "dr":
            receipts[source, message_id].append(Status(status))
    reference = {
        message: (max(statuses, key=lambda status: status.rank).value, len(statuses))
        for message, statuses in receipts.items()
    }
    for message in reference.keys() | stored.deliveries.keys():
        if reference.get(message) != stored.deliveries.get(message):
            yield f"delivery of {message[0]}: {stored.deliveries.get(message)}, expected {reference.get(message)}"


def _outcomes(traffic: Traffic, stored: Stored) -> Iterator[str]:
    first: Counter[Body | EventKey] = Counter()
    for row in stored.callbacks:
        body = (row.source, row.body)
        sent = traffic.events.get(body)
        if sent is None and row.outcome != "dead":
            yield f"{row.id} is {row.outcome}, and was garbage"
        elif sent is not None and row.outcome not in ("stored", "duplicate"):
            yield f"{row.id} is {row.outcome}, and was a healthy {sent[1]}"
        elif row.outcome == "stored" and sent is not None:
            first[sent] += 1
    for count in first.values():
        if count != 1:
            yield f"{count} callbacks brought the same event"
