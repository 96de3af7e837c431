"""What is sent to PostgreSQL, where the tests of the store do not reach."""

import fcntl
import os
import resource
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from workers import rows

BEYOND_SELECT = 1100  # select() takes descriptors up to 1,023


@pytest.fixture
def high_descriptor() -> Iterator[int]:
    """A descriptor to write to, of a process with many open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft <= BEYOND_SELECT:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * BEYOND_SELECT), hard))
    reading, writing = os.pipe()
    high = fcntl.fcntl(writing, fcntl.F_DUPFD, BEYOND_SELECT)
    yield high
    for descriptor in (reading, writing, high):
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_batch_is_sent_over_a_connection_with_a_high_descriptor(high_descriptor: int) -> None:
    left = [1, 1, 0]  # what libpq says of data that the socket has not taken yet
    connection: Any = SimpleNamespace(
        execute=lambda *_: "a cursor",
        fileno=lambda: high_descriptor,
        pgconn=SimpleNamespace(flush=lambda: left.pop(0)),
    )
    cursor: object = rows.send(connection, [])
    assert cursor == "a cursor"
    assert left == []
