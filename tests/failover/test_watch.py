"""What the watch sees of a spool, and what it takes for a time without Redis."""

import sqlite3
import time
from pathlib import Path

import pytest

from ingress import spool
from tests.failover.watch import Watch
from tests.load.client import Answer

SPOOL_BYTES = 1_000_000


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    watch = Watch(tmp_path)
    watch.look()
    return watch


def acknowledged() -> Answer:
    return Answer(0, 200, "an id", time.monotonic(), 0.0)


def test_what_went_through_a_spool_is_counted_also_after_it_was_moved(tmp_path: Path, watch: Watch) -> None:
    file = spool.create(tmp_path, SPOOL_BYTES)
    file.append([("fleet", b"one"), ("fleet", b"two")])
    watch.look()
    file.remove_through(2)
    file.append([("fleet", b"three")])
    watch.look()
    file.close()
    watch.look()
    assert watch.spooled() == 3


def test_a_time_counts_as_without_redis_when_most_came_from_the_spool_or_nothing_came(
    tmp_path: Path, watch: Watch
) -> None:
    file = spool.create(tmp_path, SPOOL_BYTES)
    answers: list[Answer] = []
    for spooled, by_redis in ((0, 3), (2, 1), (0, 0), (1, 2)):
        for _ in range(spooled):
            file.append([("fleet", b"callback")])
        answers += [acknowledged() for _ in range(spooled + by_redis)]
        watch.look()
    file.close()
    at = [look.at for look in watch.looks]
    without = watch.seconds_without_redis(answers, at[0], at[-1])
    assert without == pytest.approx(at[3] - at[1])


def test_a_file_that_is_no_spool_is_passed_over(tmp_path: Path, watch: Watch) -> None:
    (tmp_path / "broken.spool").write_bytes(b"no database")
    sqlite3.connect(tmp_path / "empty.spool").close()
    watch.look()
    assert watch.spooled() == 0
