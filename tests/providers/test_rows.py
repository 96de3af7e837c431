"""Every case, and what is made of it, on its way into a real PostgreSQL: rows, duplicates, and deliveries that do not
depend on the order of their receipts."""

import random
from collections.abc import Iterator
from datetime import timedelta
from itertools import count, permutations

import pytest
from msgspec.structs import replace

from shared.callback import Arrival, new_id, pack
from shared.events import DeliveryReport, Status
from shared.inbox import Entry
from shared.providers import PROVIDERS
from shared.source import Source
from tests.providers import mutations
from tests.providers.mutations import OTHER_TYPES, SPELLINGS, documents
from tests.providers.support import NOW, Sample, kept, read, samples
from tests.workers.conftest import Rows, attempt
from workers.drain import read as reader
from workers.drain.read import Parsed
from workers.drain.store import Store
from workers.rows import Stored

ORDER_FREE = "status, final, error_code, reason, recipient, read_at, first_report_at, updated_at, reports"
BATCH = 500
BROKEN_SHARE = 0.03  # of each provider's broken requests
_numbers = count(1)


def parsed(arrival: Arrival, source: Source, name: str) -> Parsed:
    """What the worker makes of the callback when it arrives at a source of this name."""
    callback = replace(kept(arrival), id=new_id(NOW), source=name, received_at=NOW)
    return reader.read(Entry(f"{next(_numbers)}-0", name, pack(callback)), {name: source})


def stored(store: Store, callbacks: list[Parsed], size: int = BATCH) -> list[Stored]:
    """What becomes of the callbacks, stored in batches of this size."""
    batches = (callbacks[start : start + size] for start in range(0, len(callbacks), size))
    results = [result for batch in batches for result in attempt(store, batch)]
    return [result for result in results if isinstance(result, Stored)]


def due(parsed: Parsed) -> str:
    return "stored" if parsed.events else "dead" if parsed.dead_letters else "ignored"


def spelled(sample: Sample) -> Iterator[Arrival]:
    """The case in its own spelling and in every other."""
    for document in documents(sample.callback):
        own = document.write(document.fields)
        yield own
        for spell in (*SPELLINGS, *OTHER_TYPES):
            yield from spell(document, read(own, sample.source))


def broken(provider: str) -> Iterator[tuple[Sample, Arrival]]:
    dice = random.Random(7)
    for sample in samples(provider):
        for document in documents(sample.callback):
            for fields in mutations.broken_fields(document):
                if dice.random() < BROKEN_SHARE:
                    yield sample, document.write(fields)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_case_becomes_the_rows_that_it_should(provider: str, store: Store, rows: Rows) -> None:
    batch = [
        parsed(sample.callback, sample.source, f"case {number}") for number, sample in enumerate(samples(provider))
    ]
    results = stored(store, batch)
    assert [result.outcome for result in results] == [due(row) for row in batch]
    assert {result.outcome for result in results} >= {"stored", "dead"}
    counted = {
        "inbound_messages": 0,
        "delivery_reports": 0,
        "dead_letters": sum(len(row.dead_letters) for row in batch),
    }
    for event in (event for row in batch for event in row.events):
        counted["delivery_reports" if isinstance(event, DeliveryReport) else "inbound_messages"] += 1
    assert {table: len(rows(f"SELECT FROM {table}")) for table in counted} == counted
    assert rows("SELECT reason, detail FROM dead_letters WHERE stage <> 'parse' OR reason = 'parser failed'") == []


@pytest.mark.parametrize("provider", PROVIDERS)
def test_postgresql_takes_whatever_parse_lets_through(provider: str, store: Store, rows: Rows) -> None:
    batch = [
        parsed(callback, sample.source, f"broken {number}")
        for number, (sample, callback) in enumerate(broken(provider))
    ]
    assert [result.outcome for result in stored(store, batch)] == [due(row) for row in batch]
    assert sum(bool(row.events) for row in batch) > len(batch) // 5 > 20
    assert rows("SELECT reason, detail FROM dead_letters WHERE stage <> 'parse' OR reason = 'parser failed'") == []


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one after another"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_spelling_of_a_case_is_a_duplicate_and_no_conflict(provider: str, together: bool, store: Store) -> None:
    firsts: list[Parsed] = []
    others: list[Parsed] = []
    for number, sample in enumerate(samples(provider)):
        first, *more = (
            parsed(callback, sample.source, f"case {number}") for callback in (sample.callback, *spelled(sample))
        )
        if first.events:
            firsts.append(first)
            others += more
    results = stored(store, firsts + others, 10**6) if together else stored(store, firsts) + stored(store, others)
    expected = ["stored"] * len(firsts) + ["dead" if other.dead_letters else "duplicate" for other in others]
    assert [result.outcome for result in results] == expected
    assert not any(result.conflict for result in results)
    assert len(others) > len(firsts) > 0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_receipts_in_every_order_lead_to_one_state(provider: str, store: Store, rows: Rows) -> None:
    """All receipts of the cases, and the same at other times, as if they were of one message: four by four in every
    order, and all in some."""
    receipts: dict[object, DeliveryReport] = {}
    for sample in samples(provider):
        for event in parsed(sample.callback, sample.source, "x").events:
            if isinstance(event, DeliveryReport):
                receipts.setdefault(event.key, replace(event, message_id="m"))
    dice = random.Random(7)
    times = [None, NOW, NOW - timedelta(hours=1)]
    every = list(receipts.values())
    every += [
        replace(event, key=(*event.key, "again"), occurred_at=dice.choice(times), read=event.status is Status.DELIVERED)
        for event in every
    ]
    groups = [every[start : start + 4] for start in range(0, len(every), 3)]
    orders = [(f"group {number}", order) for number, group in enumerate(groups) for order in permutations(group)]
    orders += [("all", tuple(dice.sample(every, len(every)))) for _ in range(24)]
    lane = parsed(next(samples(provider)).callback, next(samples(provider)).source, "x")
    for step in range(len(every)):
        batch = [
            lane._replace(
                entry=Entry(f"{next(_numbers)}-0", name, b""),
                callback=replace(lane.callback, id=new_id(NOW), source=f"{name}, {number}"),
                events=[event],
                dead_letters=[],
            )
            for number, (name, order) in enumerate(orders)
            for event in arriving(order, step, 1 + number % 3)
        ]
        assert {result.outcome for result in stored(store, batch)} <= {"stored"}
    states = rows(f"SELECT DISTINCT split_part(source, ',', 1) AS name, {ORDER_FREE} FROM deliveries")
    assert len(states) == len({name for name, _ in orders}) > 1, states


def arriving(order: tuple[DeliveryReport, ...], step: int, together: int) -> tuple[DeliveryReport, ...]:
    """The events of an order that come at this step, if `together` of them come at once."""
    begins = step - step % together
    complete = step - begins == together - 1 or step == len(order) - 1
    return order[begins : step + 1] if complete and step < len(order) else ()
