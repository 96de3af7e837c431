"""One run: its claims, and when it pauses or ends."""

from collections.abc import Collection, Iterable

from shared.inbox import Consumer, Done, Entry
from shared.outcomes import Outcome
from workers.drain.run import HANDED_BACK, Run

ENTRIES = [Entry(f"{number}-0", "fleet", b"") for number in range(3)]


class Noting(Consumer):
    """A consumer that notes what it is asked for."""

    def __init__(self) -> None:
        self.renewed: list[list[Entry]] = []
        self.handed_back: list[tuple[list[Entry], bool]] = []
        self.acknowledged: list[Done] = []

    def renew(self, entries: Collection[Entry]) -> None:
        self.renewed.append(list(entries))

    def hand_back(self, entries: Iterable[Entry], blamed: bool = False) -> None:
        self.handed_back.append((list(entries), blamed))

    def acknowledge(self, done: Iterable[Done]) -> int:
        self.acknowledged += done
        return len(self.acknowledged)


def test_a_pause_renews_everything_that_is_claimed_and_not_settled() -> None:
    consumer, slept = Noting(), list[float]()
    run = Run(consumer, seconds=60, sleep=slept.append)
    run.add(ENTRIES)
    run.acknowledge([Done(ENTRIES[0], Outcome.STORED)])
    run.hand_back([ENTRIES[1]], blamed=True)
    assert run.pause(0.5)
    assert (slept, consumer.renewed) == ([0.5], [[ENTRIES[2]]])
    assert consumer.handed_back == [([ENTRIES[1]], True)]
    assert run.counts == {"claimed": 0, "stored": 1}
    assert run.outcomes == {("fleet", "stored"): 1, ("fleet", HANDED_BACK): 1}


def test_a_run_that_ends_or_stops_before_does_not_pause() -> None:
    consumer, slept = Noting(), list[float]()
    assert not Run(consumer, seconds=0.4, sleep=slept.append).pause(0.5)
    assert not Run(consumer, seconds=60, stopping=lambda: True, sleep=slept.append).pause(0.5)
    assert (slept, consumer.renewed) == ([], [])


def test_what_is_left_at_the_end_is_handed_back_and_not_blamed() -> None:
    consumer = Noting()
    run = Run(consumer, seconds=0)
    run.add(ENTRIES)
    run.forget(ENTRIES[:1])
    assert run.is_over
    run.end()
    assert consumer.handed_back == [(ENTRIES[1:], False)]
    assert run.unsettled == []


def test_nothing_is_acknowledged_by_an_empty_list() -> None:
    consumer = Noting()
    Run(consumer, seconds=60).acknowledge([])
    assert consumer.acknowledged == []
