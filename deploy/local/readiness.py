"""Whether a part of the system does its work, asked from outside."""

import time
from datetime import UTC, datetime

from deploy.pages import read_page
from shared import inbox

ASK_SECONDS = 2  # for one answer over HTTP
POLL_SECONDS = 0.05  # between two questions whether the inbox is empty


def answers(url: str) -> bool:
    """True, once a page answers 2XX. Raises URLError."""
    read_page(url, ASK_SECONDS)
    return True


def has_drained(found: inbox.Inbox, since: float) -> bool:
    """Whether a worker asked for entries since then (of `time.monotonic`); rings, so that one that is up does.

    Raises RedisUnavailable.
    """
    idle = found.activity("").idle_seconds
    if idle is not None and idle < time.monotonic() - since:
        return True
    found.ring(datetime.now(UTC))
    return False


def wait_until_empty(found: inbox.Inbox, seconds: float) -> None:
    """Returns when the inbox is empty, or when the time is up. Raises RedisUnavailable."""
    ends = time.monotonic() + seconds
    while found.snapshot().depth.entries and time.monotonic() < ends:
        time.sleep(POLL_SECONDS)
