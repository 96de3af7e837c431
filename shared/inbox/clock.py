"""Times by the clock of Redis, which all processes share."""

from typing import Any


def seconds_of(time: Any) -> float:
    """The answer to TIME."""
    seconds, microseconds = time
    return float(seconds + microseconds / 1e6)


def appended_seconds(id: bytes) -> float:
    """When an entry was appended."""
    return int(id.split(b"-")[0]) / 1000
