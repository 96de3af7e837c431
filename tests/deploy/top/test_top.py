"""What `callbox top` makes of readings, and the page."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from deploy.top.page import page
from deploy.top.readings import DatabaseReading, InboxReading, IngressReading, Reading, counted_in
from deploy.top.state import SourceLine, State, View, quantile
from shared.inbox import Depth, Hold, Snapshot

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
INFINITE = float("inf")
METRICS = """
# TYPE callbox_requests_total counter
callbox_requests_total{source="fleet",outcome="accepted"} 10
callbox_requests_total{source="fleet",outcome="rejected"} 3
callbox_requests_total{source="fleet",outcome="unavailable"} 2
callbox_requests_total{source="",outcome="not_found"} 1
# TYPE callbox_acknowledge_seconds histogram
callbox_acknowledge_seconds_bucket{source="fleet",le="0.01"} 9
callbox_acknowledge_seconds_bucket{source="fleet",le="+Inf"} 10
"""


def inbox(heard_at: datetime | None = None, /, **appended: int) -> InboxReading:
    counts = {"repeat": 0, "stored": 0, "duplicate": 0, "dead": 0, "ignored": 0}
    ledger = {source: {**counts, "appended": count} for source, count in appended.items()}
    held = {"otp": Hold("its parser failed", NOW.timestamp())}
    heard = {"fleet": heard_at.timestamp()} if heard_at else {}
    snapshot = Snapshot(Depth(3, 1.5), ledger, {}, {"otp": 4}, held, heard=heard)
    return InboxReading(snapshot, {"w": 2.0}, [(5_000_000, 0)], 0.001)


DATABASE = DatabaseReading({"fleet": 7}, 9, 0.001)


def reading(seconds: float, found: InboxReading | str, stored: DatabaseReading | str, refused: float = 0.0) -> Reading:
    ingress = IngressReading({"fleet": refused}, {"fleet": {0.01: 10 * seconds, INFINITE: 10 * seconds}})
    return Reading(seconds, NOW + timedelta(seconds=seconds), found, stored, {"http://a": ingress})


def line(view: View, source: str) -> SourceLine:
    (found,) = [each for each in view.sources if each.source == source]
    return found


def text(view: View, height: int | None, columns: int = 80) -> list[str]:
    output = io.StringIO()
    Console(file=output, width=columns, highlight=False).print(page(view, height))
    return output.getvalue().splitlines()


def test_rates_are_differences_of_the_last_seconds() -> None:
    state = State()
    first = state.after(reading(0, inbox(fleet=100), DATABASE))
    assert line(first, "fleet").per_second is None
    state.after(reading(5, inbox(fleet=150), DATABASE, refused=5))
    view = state.after(reading(20, inbox(fleet=300), DATABASE, refused=35))
    found = line(view, "fleet")
    assert (found.per_second, found.refused_per_second, found.dead_letters) == (10.0, 2.0, 7)
    assert found.p99_seconds == pytest.approx(0.0099)
    assert line(view, "otp").is_held


def test_counts_that_begin_anew_count_from_nothing() -> None:
    state = State()
    state.after(reading(0, inbox(fleet=100), DATABASE))
    assert line(state.after(reading(2, inbox(fleet=6), DATABASE)), "fleet").per_second == 3.0


def test_a_source_is_silent_since_its_latest_callback() -> None:
    view = State().after(reading(0, inbox(NOW - timedelta(hours=3), fleet=1, new=0), DATABASE))
    assert (line(view, "fleet").silent, line(view, "new").silent) == (timedelta(hours=3), None)
    assert "3 h" in "\n".join(text(view, None))
    ahead = State().after(reading(0, inbox(NOW + timedelta(seconds=3), fleet=1), DATABASE))
    assert line(ahead, "fleet").silent == timedelta(0), "the clock of Redis is ahead"


def test_what_is_away_is_said_and_the_rest_is_shown() -> None:
    state = State()
    state.after(reading(0, inbox(fleet=1), DATABASE))
    view = state.after(reading(1, "Redis does not answer", "does not answer (refused)"))
    assert line(view, "fleet").per_second is None
    shown = "\n".join(text(view, 24))
    assert "Redis does not answer" in shown
    assert "PostgreSQL  does not answer (refused)" in shown
    assert "inbox       not known" in shown


def test_a_page_fits_the_terminal_and_says_what_it_leaves_out() -> None:
    view = State().after(reading(0, inbox(**{f"source-{'x' * 60}-{n}": 1 for n in range(40)}), DATABASE))
    for columns in (80, 200):
        lines = text(view, 24, columns)
        assert len(lines) <= 24
        assert max(map(len, lines)) <= columns
        assert lines[-1].startswith("and ")
    assert len(text(view, None, 200)) > 40


def test_nothing_has_arrived_yet() -> None:
    assert text(State().after(reading(0, "away", "away")._replace(ingresses={})), 24)[-1].startswith("no source")


@pytest.mark.parametrize(
    ("before", "after", "share", "expected"),
    [
        ({}, {}, 0.99, None),
        ({1.0: 5, INFINITE: 5}, {1.0: 5, INFINITE: 5}, 0.99, None),
        ({}, {1.0: 100, INFINITE: 100}, 0.5, 0.5),
        ({1.0: 100, 2.0: 100, INFINITE: 100}, {1.0: 100, 2.0: 200, INFINITE: 200}, 0.5, 1.5),
        ({}, {1.0: 1, INFINITE: 100}, 0.99, 1.0),
    ],
)
def test_a_quantile_of_what_came_between(
    before: dict[float, float], after: dict[float, float], share: float, expected: float | None
) -> None:
    assert quantile(before, after, share) == expected


def test_the_metrics_of_an_ingress_are_read() -> None:
    found = counted_in(METRICS)
    assert dict(found.refused) == {"fleet": 3.0, "": 1.0}
    assert found.acknowledged["fleet"] == {0.01: 9.0, INFINITE: 10.0}
