"""The view assembled_messages: long messages whole, in order, or how much of them is missing."""

from datetime import timedelta
from itertools import count, permutations
from typing import Any

import pytest

from tests.workers.conftest import START, Rows, attempt, message, parsed
from workers.drain.store import Store

_ids = count(1)


def part(number: int, text: str, of: int = 3, reference: str = "77", hours: float = 0, **fields: Any) -> Any:
    fields = {"sender": "+1", "recipient": "2", **fields}
    sent_at = START + timedelta(hours=hours)
    event = message(
        str(next(_ids)), text, part_number=number, part_count=of, part_reference=reference, sent_at=sent_at, **fields
    )
    return parsed(event)


def assembled(rows: Rows) -> list[tuple[Any, ...]]:
    query = "SELECT text, parts_missing FROM assembled_messages ORDER BY sent_at, last_received_at, text"
    return [tuple(row.values()) for row in rows(query)]


@pytest.mark.parametrize("order", list(permutations((0, 1, 2))))
def test_parts_are_joined_in_order_however_they_come(store: Store, rows: Rows, order: tuple[int, ...]) -> None:
    parts = [part(1, "one "), part(2, "two "), part(3, "three")]
    seen = []
    for index in order:
        attempt(store, [parts[index]])
        seen += assembled(rows)
    assert seen == [(None, 2), (None, 1), ("one two three", 0)]


def test_a_message_of_one_part_is_there_as_it_is(store: Store, rows: Rows) -> None:
    attempt(store, [parsed(message("x", "short")), part(1, "single", of=1)])
    assert sorted(assembled(rows)) == [("short", 0), ("single", 0)]


def test_a_part_that_comes_twice_counts_once(store: Store, rows: Rows) -> None:
    attempt(store, [part(1, "a"), part(1, "a"), part(2, "b"), part(3, "c"), part(3, "c")])
    assert assembled(rows) == [("abc", 0)]


def test_senders_recipients_and_references_are_kept_apart(store: Store, rows: Rows) -> None:
    attempt(store, [part(1, "a"), part(2, "b", sender="+9"), part(2, "b", recipient="9"), part(2, "b", reference="78")])
    assert assembled(rows) == [(None, 2)] * 4


def test_a_reference_used_again_within_the_day_is_another_message(store: Store, rows: Rows) -> None:
    attempt(store, [part(1, "a", of=2), part(2, "b", of=2), part(1, "c", of=2, hours=1), part(2, "d", of=2, hours=1)])
    assert assembled(rows) == [("ab", 0), ("cd", 0)]


def test_a_part_lost_on_one_day_does_not_take_one_from_the_next(store: Store, rows: Rows) -> None:
    attempt(store, [part(1, "a", of=2), part(1, "c", of=2, hours=30), part(2, "d", of=2, hours=30)])
    assert assembled(rows) == [(None, 1), ("cd", 0)]


def test_missing_senders_and_impossible_numbers_do_not_hide_a_text(store: Store, rows: Rows) -> None:
    attempt(store, [part(1, "a", of=2, sender=None), part(2, "b", of=2, sender=None), part(9, "odd", of=2)])
    assert sorted(assembled(rows)) == [("ab", 0), ("odd", 0)]
