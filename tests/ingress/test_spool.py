"""The spool file: durable, ordered, locked, bounded, and adopted when its owner is gone."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingress import spool
from ingress.spool import Spool, SpoolError, SpoolFull
from shared.callback import Callback, new_id, pack

LIMIT_BYTES = 1 << 20
GROUP = [("a", b"\x00\xff1"), ("b", b""), ("a", b"3")]


def packed(file: Spool, count: int = 100) -> list[bytes]:
    return [entry.packed for entry in file.oldest(count, LIMIT_BYTES)]


def test_a_group_is_kept_in_order_and_byte_for_byte(tmp_path: Path) -> None:
    file = spool.create(tmp_path / "made" / "here", LIMIT_BYTES)
    file.append(GROUP)
    file.append([("c", b"4")])
    found = file.oldest(100, LIMIT_BYTES)
    assert [(entry.source, entry.packed) for entry in found] == [*GROUP, ("c", b"4")]
    assert file.counts() == {"a": 2, "b": 1, "c": 1}
    file.remove_through(found[1].number)
    assert packed(file) == [b"3", b"4"]
    file.close()


def test_a_file_that_was_emptied_serves_the_next_outage_too(tmp_path: Path) -> None:
    file = spool.create(tmp_path, LIMIT_BYTES)
    for _ in range(3):
        file.append(GROUP)
        found = file.oldest(100, LIMIT_BYTES)
        assert [(entry.source, entry.packed) for entry in found] == GROUP
        assert file.counts() == {"a": 2, "b": 1}
        file.remove_through(found[-1].number)
        assert file.counts() == {}
    file.close()


def test_what_waits_is_counted_once_and_not_for_each_group_that_is_moved(tmp_path: Path) -> None:
    left = spool.create(tmp_path, LIMIT_BYTES)
    left.append(GROUP)
    left.close()
    for file in (spool.take(left.path, LIMIT_BYTES), spool.create(tmp_path, LIMIT_BYTES)):
        waited = sum(file.counts().values())
        asked: list[str] = []
        file._connection.set_trace_callback(asked.append)
        file.append(GROUP)
        file.remove_through(file.oldest(waited + 1, LIMIT_BYTES)[-1].number)
        assert file.counts() == {"b": 1, "a": 1}
        assert not any("count(*)" in query and f"<= {spool.LAST}" in query for query in asked)
        file.close()


def test_it_commits_to_the_disk(tmp_path: Path) -> None:
    file = spool.create(tmp_path, LIMIT_BYTES)
    assert file._connection.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
    assert file._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    file.close()


def test_the_oldest_come_by_count_and_bytes_and_at_least_one(tmp_path: Path) -> None:
    file = spool.create(tmp_path, LIMIT_BYTES)
    file.append([("a", b"x" * 100)] * 5)
    assert len(file.oldest(3, 10_000)) == 3
    assert len(file.oldest(5, 250)) == 2
    assert len(file.oldest(5, 1)) == 1
    file.close()


def test_how_much_waits_and_since_when(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    first, second = (
        Callback(id=new_id(at), source="a", provider="emnify", received_at=at, method="POST", body=b"x")
        for at in (now, now + timedelta(seconds=5))
    )
    file = spool.create(tmp_path, LIMIT_BYTES)
    assert file.depth() == (0, None)
    file.append([("a", pack(first)), ("a", pack(second)), ("b", b"not readable")])
    assert file.depth() == (3, now)
    file.remove_through(1)
    assert file.depth() == (2, second.received_at)
    file.remove_through(2)
    assert file.depth() == (1, None)
    file.remove_through(3)
    file.append([("a", pack(second))])
    assert file.depth() == (1, second.received_at)
    file.close()


def test_a_full_spool_takes_nothing_of_a_group_and_something_again_when_it_was_emptied(tmp_path: Path) -> None:
    file = spool.create(tmp_path, spool.SMALLEST_BYTES)
    file.append([("a", b"first")])
    with pytest.raises(SpoolError, match="full"):
        file.append([("a", b"x" * 10_000)] * 50)
    assert packed(file) == [b"first"]
    file.append([("a", b"x" * 10_000)] * 3)
    with pytest.raises(SpoolError):
        file.append([("a", b"x" * 10_000)] * 3)
    file.remove_through(file.oldest(9, LIMIT_BYTES)[-1].number)
    file.append([("a", b"x" * 10_000)] * 3)
    file.close()


def test_a_probe_leaves_nothing_behind(tmp_path: Path) -> None:
    file = spool.create(tmp_path, LIMIT_BYTES)
    file.probe()
    assert (file.counts(), packed(file)) == ({}, [])
    file.close()
    assert list(tmp_path.iterdir()) == []


def test_what_was_moved_is_not_moved_again_even_if_the_disk_is_too_full_to_forget_it(tmp_path: Path) -> None:
    file = spool.create(tmp_path, LIMIT_BYTES)
    file.append(GROUP)
    file._connection.execute("CREATE TRIGGER full BEFORE DELETE ON spooled BEGIN SELECT raise(ABORT, 'full'); END")
    with pytest.raises(SpoolError):
        file.remove_through(file.oldest(2, LIMIT_BYTES)[-1].number)
    assert (packed(file), file.counts()) == ([b"3"], {"a": 1})
    file.close()


@pytest.mark.parametrize("place", ["/dev/null/spool", "/proc/spool"])
def test_a_place_where_none_can_be_made_is_an_error(place: str) -> None:
    with pytest.raises(SpoolError, match="cannot be made"):
        spool.create(Path(place), LIMIT_BYTES)
    assert spool.adopt(Path(place), LIMIT_BYTES) is None


def test_a_file_in_use_is_not_adopted_and_one_that_was_left_is(tmp_path: Path) -> None:
    file = spool.create(tmp_path, LIMIT_BYTES)
    file.append(GROUP)
    assert spool.adopt(tmp_path, LIMIT_BYTES) is None
    file.close()
    adopted = spool.adopt(tmp_path, LIMIT_BYTES)
    assert adopted is not None
    assert packed(adopted) == [entry[1] for entry in GROUP]
    assert spool.adopt(tmp_path, LIMIT_BYTES) is None
    adopted.remove_through(3)
    adopted.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_had_appended_is_there(tmp_path: Path) -> None:
    killed = (
        "import os, sys; from pathlib import Path; from ingress import spool\n"
        "file = spool.create(Path(sys.argv[1]), 1 << 20)\n"
        "for n in range(100): file.append([('a', b'%d' % n)])\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", killed, str(tmp_path)]).returncode == -9
    adopted = spool.adopt(tmp_path, LIMIT_BYTES)
    assert adopted is not None
    assert packed(adopted) == [b"%d" % n for n in range(100)]
    adopted.close()


def test_a_file_that_is_none_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "x.spool").write_bytes(b"no database" * 1000)
    assert spool.adopt(tmp_path, LIMIT_BYTES) is None
    assert (tmp_path / "x.spool").exists()


def test_a_disk_without_room_for_a_new_file_keeps_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SMALLEST_BYTES", 4096)
    with pytest.raises(SpoolFull, match="full"):
        spool.create(tmp_path / "spool", 1)
    assert list((tmp_path / "spool").iterdir()) == []
