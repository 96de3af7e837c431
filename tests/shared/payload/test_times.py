"""Times, with and without a zone."""

from datetime import UTC, datetime

import pytest

from tests.shared.payload.support import of


@pytest.mark.parametrize(
    ("text", "time", "exact"),
    [
        ("2021-02-26 10:01:15", datetime(2021, 2, 26, 2, 1, 15, tzinfo=UTC), False),
        ("2021-02-26T10:01:15.5", datetime(2021, 2, 26, 2, 1, 15, 500_000, tzinfo=UTC), False),
        ("2021-02-26T10:01", datetime(2021, 2, 26, 2, 1, tzinfo=UTC), False),
        ("2021-02-26T10:01:15Z", datetime(2021, 2, 26, 10, 1, 15, tzinfo=UTC), True),
        ("2021-02-26 10:01:15.123456789 +05:30", datetime(2021, 2, 26, 4, 31, 15, 123_456, tzinfo=UTC), True),
        (" 2021-02-26t10:01:15-0300 ", datetime(2021, 2, 26, 13, 1, 15, tzinfo=UTC), True),
        ("2021-02-26T10:01:15+08", datetime(2021, 2, 26, 2, 1, 15, tzinfo=UTC), True),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC), True),
    ],
)
def test_time(text: str, time: datetime, exact: bool) -> None:
    fields = of(text)
    found = fields.time("x")
    assert (found, found and found.tzinfo) == (time, UTC)
    assert fields.rest(fields.names()) == ({} if exact else {"x": text}), "a time without a zone is kept as it was sent"


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        0,
        1614304875,
        True,
        "yesterday",
        "0000-00-00 00:00:00",
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59-23:59",
        "9999-01-01T00:00:00Z",
        "2021-02-30 10:01:15",
        "2021-02-26 25:01:15",
        "2021-02-26 10:01:60",
        "2021-02-26T10:01:15+99:99",
        "2021-02-26T10:01:15+24:00",
        "2021-W08-5",
        "２０２１-02-26 10:01:15",
        "2021-02-26 10:01:15¤cy=USD",
    ],
)
def test_time_that_is_none(value: object) -> None:
    fields = of(value)
    assert fields.time("x") is None
    assert fields.rest(fields.names()) == {"x": value, "notes": ["unreadable time"]}


@pytest.mark.parametrize("value", [None, ""])
def test_no_time(value: object) -> None:
    fields = of(value)
    assert fields.time("x") is None
    assert "notes" not in fields.rest(fields.names())
