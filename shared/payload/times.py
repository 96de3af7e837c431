"""Dates and times, in UTC."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?"
    r" ?(?:([Zz])|([+-])([0-9]{2}):?([0-9]{2})?)?"
)
_YEARS = range(1970, 9999)  # earlier ones are fillers, later ones overflow on their way to another zone


def read_time(text: str, zone: ZoneInfo) -> tuple[datetime | None, bool]:
    """An ISO 8601 date and time, in UTC, and whether it named its zone; None if the text is no such time."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None, False
    year, month, day, hour, minute, second, fraction, zulu, sign, hours, minutes = found.groups()
    try:
        named: tzinfo = UTC if zulu else zone
        if sign:
            offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
            named = timezone(-offset if sign == "-" else offset)
        microsecond = int((fraction or "0")[:6].ljust(6, "0"))
        local = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second or 0), microsecond, tzinfo=named
        )
        time = local.astimezone(UTC)
    except (ValueError, OverflowError):
        return None, False
    return (time, bool(zulu or sign)) if time.year in _YEARS else (None, False)
