"""The short form of `make capacity`."""

from pathlib import Path

from tests.capacity.__main__ import document
from tests.capacity.measure import measure


def test_every_provider_is_measured_and_every_place_costs_at_least_what_is_kept(
    redis_url: str, database_url: str, tmp_path: Path
) -> None:
    found = list(measure(redis_url, database_url, tmp_path, 100))
    for row in found:
        assert min(row.memory, row.redis_file, row.spool) > 0.5 * row.packed
        assert row.redis_file >= row.packed
        assert row.tables > 0
        assert row.wal > row.packed / 2
    assert document(found).count("\n| ") == len(found) + 1
