"""What children count reaches their parent, once, whatever the parent is busy with."""

import os

import pytest

from shared.catalogue import (
    BATCH_CALLBACKS,
    DEAD_LETTERS,
    DUPLICATES,
    EVENTS,
    STORED_SECONDS,
    WORKER_UNMET,
    Place,
    metrics_of,
)
from shared.events import Status
from tests.conftest import wait_until
from workers.tally import Tally, Totals

SOURCES = ["fleet", "otp"]


@pytest.fixture
def totals() -> Totals:
    made = Totals(SOURCES, lambda: 3)
    made.start()
    return made


def shown(totals: Totals) -> dict[str, dict[tuple[str, ...], float]]:
    return {
        family.name: {(*each.labels.values(), each.name): each.value for each in family.samples}
        for family in totals.collect()
    }


def duplicates(totals: Totals, source: str = "fleet") -> float:
    return shown(totals)["callbox_duplicates"][source, "callbox_duplicates_total"]


def test_it_shows_the_metrics_of_a_worker_all_from_the_start(totals: Totals) -> None:
    found = shown(totals)
    assert set(found) == {metric.name.removesuffix("_total") for metric in metrics_of(Place.WORKER)}
    assert all(found.values())
    assert found["callbox_worker_children"] == {("callbox_worker_children",): 3}
    assert found["callbox_duplicates"] == {(source, "callbox_duplicates_total"): 0 for source in SOURCES}
    statuses = [(kind, status) for _, kind, status, _ in found["callbox_events"]]
    assert len(statuses) == len(SOURCES) * (len(Status) + 1)
    assert ("mo", "") in statuses


def test_the_counts_of_several_children_add_up_and_of_a_gauge_the_latest_counts(totals: Totals) -> None:
    for _ in range(2):
        child = Tally(totals.sender)
        child.add(DUPLICATES, ("fleet",), 2)
        child.observe(STORED_SECONDS, ("fleet",), [0.05, 0.06, 100_000.0])
        child.set(WORKER_UNMET, ("redis",), 1)
        child.hand_over()
    wait_until(lambda: duplicates(totals) == 4, "what both have sent")
    found = shown(totals)["callbox_stored_seconds"]
    assert found["fleet", "0.05", "callbox_stored_seconds_bucket"] == 2
    assert found["fleet", "0.1", "callbox_stored_seconds_bucket"] == 4
    assert found["fleet", "+Inf", "callbox_stored_seconds_bucket"] == 6
    assert found["fleet", "callbox_stored_seconds_sum"] == pytest.approx(200_000.22)
    assert shown(totals)["callbox_worker_unmet_demands"]["redis", "callbox_worker_unmet_demands"] == 1


def test_a_forked_child_sends_to_its_parent(totals: Totals) -> None:
    pid = os.fork()
    if not pid:
        child = Tally(totals.sender)
        child.add(DUPLICATES, ("otp",))
        child.hand_over()
        os._exit(0)
    os.waitpid(pid, 0)
    wait_until(lambda: duplicates(totals, "otp") == 1, "what the child has sent")


def test_what_the_parent_does_not_take_at_once_is_sent_later_and_once() -> None:
    busy = Totals(SOURCES, lambda: 0)  # not started: it reads nothing
    child = Tally(busy.sender)
    for _ in range(5000):
        child.add(DUPLICATES, ("fleet",))
        child.hand_over()
    assert child.value(DUPLICATES, "fleet") != [0], "the socket took everything"
    busy.start()

    def is_sent() -> bool:
        child.hand_over()
        return list(child.value(DUPLICATES, "fleet")) == [0]

    wait_until(is_sent, "the rest")
    wait_until(lambda: duplicates(busy) == 5000, "all of it")


def test_many_series_are_sent_in_several_datagrams(totals: Totals) -> None:
    child = Tally(totals.sender)
    sources = [f"{number:064}" for number in range(2000)]
    for source in sources:
        child.observe(STORED_SECONDS, (source,), [1.0])

    def is_sent() -> bool:
        child.hand_over()
        return len(shown(totals)["callbox_stored_seconds"]) >= 15 * len(sources)

    wait_until(is_sent, "all series")


def test_without_a_parent_it_keeps_what_it_counted() -> None:
    alone = Tally()
    alone.add(DEAD_LETTERS, ("fleet", "parse"))
    alone.hand_over()
    assert alone.value(DEAD_LETTERS, "fleet", "parse") == [1]
    assert alone.value(EVENTS, "fleet", "mo", "") == [0]


@pytest.mark.parametrize("found", [[1], [1, 2, 2, 3], [10**6], [0, 500, 501], []])
def test_a_value_falls_into_the_first_bucket_that_reaches_it(found: list[float]) -> None:
    tally = Tally()
    tally.observe(BATCH_CALLBACKS, (), found)
    *counts, total = tally.value(BATCH_CALLBACKS)
    ends = [*BATCH_CALLBACKS.buckets, float("inf")]
    expected = [0] * len(ends)
    for value in found:
        expected[next(number for number, end in enumerate(ends) if value <= end)] += 1
    assert (counts, total) == (expected, sum(found))


def test_within_a_run_it_hands_over_now_and_then(totals: Totals, monkeypatch: pytest.MonkeyPatch) -> None:
    child = Tally(totals.sender)
    monkeypatch.setattr("workers.tally.HAND_OVER_SECONDS", float("inf"))
    for _ in range(3):
        child.add(DUPLICATES, ("fleet",))
        child.hand_over_if_due()
    wait_until(lambda: duplicates(totals) == 1, "the first")
    assert child.value(DUPLICATES, "fleet") == [2]
    monkeypatch.setattr("workers.tally.HAND_OVER_SECONDS", 0)
    child.hand_over_if_due()
    wait_until(lambda: duplicates(totals) == 3, "the others")
