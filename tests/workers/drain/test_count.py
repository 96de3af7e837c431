"""What the metrics have of a batch."""

from datetime import timedelta

from shared.catalogue import (
    CONFLICTS,
    DEAD_LETTERS,
    DUPLICATES,
    EVENTS,
    INTENTS,
    PROVIDER_DELAY_SECONDS,
    STORED_SECONDS,
    Metric,
)
from shared.events import Intent, Status
from shared.outcomes import Outcome, Stage
from tests.workers.conftest import START, message, parsed, report
from workers.dead_letters import DeadLetter
from workers.drain.count import count
from workers.drain.read import Parsed
from workers.rows import Stored
from workers.tally import Tally

NEW = Stored(Outcome.STORED, repeat=False, conflict=False)
COMMITTED_AT = START + timedelta(seconds=3)


def counted(*batch: tuple[Parsed, Stored]) -> Tally:
    tally = Tally()
    count(batch, COMMITTED_AT, tally)
    return tally


def observed(tally: Tally, metric: Metric, source: str = "s") -> tuple[float, float]:
    """How many values, and their sum."""
    *counts, total = tally.value(metric, source)
    return sum(counts), total


def test_events_are_counted_by_kind_status_and_intent() -> None:
    tally = counted(
        (parsed(report("1", Status.DELIVERED), report("2", Status.DELIVERED), report("3", Status.SENT)), NEW),
        (parsed(message("4", intent=Intent.OPT_OUT), message("5")), NEW),
        (parsed(report("1", Status.SENT), source="t"), NEW),
    )
    assert tally.value(EVENTS, "s", "dr", "delivered") == [2]
    assert tally.value(EVENTS, "s", "dr", "sent") == [1]
    assert tally.value(EVENTS, "s", "mo", "") == [2]
    assert tally.value(EVENTS, "t", "dr", "sent") == [1]
    assert tally.value(INTENTS, "s", "opt_out") == [1]
    assert tally.value(INTENTS, "s", "none") == [1]


def test_what_was_stored_before_is_a_duplicate_and_brings_no_event() -> None:
    again = Stored(Outcome.DUPLICATE, repeat=False, conflict=True)
    tally = counted((parsed(report("1", Status.SENT)), again), (parsed(message("2")), again))
    assert tally.value(DUPLICATES, "s") == [2]
    assert tally.value(CONFLICTS, "s") == [2]
    assert tally.value(EVENTS, "s", "dr", "sent") == [0]
    assert observed(tally, STORED_SECONDS) == (2, 6)
    assert observed(tally, PROVIDER_DELAY_SECONDS) == (0, 0)


def test_a_repeat_was_counted_under_its_other_entry() -> None:
    tally = counted((parsed(report("1", Status.SENT)), Stored(Outcome.STORED, repeat=True, conflict=True)))
    assert observed(tally, STORED_SECONDS) == (0, 0)
    assert tally.value(CONFLICTS, "s") == [0]


def test_dead_letters_are_counted_by_their_stage_beside_events_too() -> None:
    made = [DeadLetter(0, Stage.PARSE, "why", ""), DeadLetter(1, Stage.PARSE, "why", "")]
    tally = counted((parsed(message("1"), dead_letters=made), NEW))
    assert tally.value(DEAD_LETTERS, "s", "parse") == [2]
    assert tally.value(EVENTS, "s", "mo", "") == [1]


def test_times_are_from_the_provider_to_the_arrival_and_from_there_to_the_commit() -> None:
    late = parsed(message("1", sent_at=START - timedelta(seconds=7)))
    ahead = parsed(report("2", Status.SENT, START + timedelta(hours=1)))
    unknown = parsed(report("3", Status.SENT))
    tally = counted((late, NEW), (ahead, NEW), (unknown, NEW))
    assert observed(tally, PROVIDER_DELAY_SECONDS) == (2, 7)
    assert observed(tally, STORED_SECONDS) == (3, 9)


def test_a_clock_ahead_of_ours_makes_no_time_below_0() -> None:
    tally = Tally()
    count([(parsed(message("1")), NEW)], START - timedelta(seconds=5), tally)
    assert observed(tally, STORED_SECONDS) == (1, 0)
