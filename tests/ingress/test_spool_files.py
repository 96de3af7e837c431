"""What an operator sees of spool files: everything that is in them, and no change to them."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ingress import spool, spool_files
from ingress.spool import SpoolError, SpoolInUse
from ingress.spool_files import Content
from shared.callback import pack
from tests.ingress.conftest import NOW, a_callback

LIMIT_BYTES = 1 << 20
KILLED = (
    "import os, sys; from pathlib import Path; from ingress import spool\n"
    "file = spool.create(Path(sys.argv[1]), 1 << 20)\n"
    "file.append([('a', b'1'), ('b', b'2'), ('a', b'3')])\n"
    "os.kill(os.getpid(), 9)"
)


def state_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".spool-shm"}


def test_the_file_of_a_running_ingress_is_read_while_it_is_written(tmp_path: Path) -> None:
    file = spool.create(tmp_path, LIMIT_BYTES)
    file.append([("fleet", pack(a_callback())), ("otp", b"x"), ("fleet", b"y")])
    found = spool_files.read(file.path)
    assert found.is_in_use
    assert (found.counts, found.oldest) == ({"fleet": 2, "otp": 1}, NOW)
    assert found.size_bytes > 0
    file.append([("otp", b"z")])
    assert spool_files.read(file.path).counts == {"fleet": 2, "otp": 2}
    file.close()
    assert not spool_files.read(file.path).is_in_use


def test_the_file_of_a_killed_ingress_is_read_and_not_changed(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)]).returncode == -9
    (path,) = spool_files.find(tmp_path)
    before = state_of(tmp_path)
    found = spool_files.read(path)
    assert (found.is_in_use, found.counts) == (False, {"a": 2, "b": 1})
    assert found.oldest is None, "a damaged row has no time"
    assert state_of(tmp_path) == before


def test_a_probe_that_was_interrupted_is_no_callback(tmp_path: Path) -> None:
    file = spool.create(tmp_path, LIMIT_BYTES)
    file._connection.execute("INSERT INTO spooled VALUES (-1, '', zeroblob(10))")
    assert spool_files.read(file.path)[1:2] == ({},)
    file.close()


def test_a_file_whose_ingress_ended_while_it_made_it_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "x.spool"
    path.touch()
    assert spool_files.read(path) == Content(is_in_use=False, counts={}, size_bytes=0, oldest=None)


def test_a_folder_has_its_spool_files_by_name_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b.spool", "a.spool", "a.spool.lock", "a.spool-wal", "notes"):
        (tmp_path / name).touch()
    assert [path.name for path in spool_files.find(tmp_path)] == ["a.spool", "b.spool"]
    assert spool_files.find(tmp_path / "nowhere") == []
    with pytest.raises(SpoolError, match=r"the folder cannot be read \(Not a directory\)"):
        spool_files.find(tmp_path / "notes")


def test_a_file_that_is_no_spool_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "junk.spool").write_bytes(b"no database" * 1000)
    with closing(sqlite3.connect(tmp_path / "foreign.spool")) as foreign:
        foreign.execute("CREATE TABLE people (name)")
    foreign.close()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "folder.spool").mkdir()
    for name, why in {
        "junk.spool": r"it cannot be read as a spool \(file is not a database\)",
        "foreign.spool": r"it cannot be read as a spool \(no such table: spooled\)",
        "notes.txt": r"it is no spool: its name does not end in \.spool",
        "folder.spool": r"it cannot be read \(Is a directory\)",
        "gone.spool": r"it cannot be read \(No such file or directory\)",
    }.items():
        with pytest.raises(SpoolError, match=why):
            spool_files.read(tmp_path / name)


def test_a_file_is_taken_by_one_process_at_a_time(tmp_path: Path) -> None:
    file = spool.create(tmp_path, LIMIT_BYTES)
    with pytest.raises(SpoolInUse):
        spool.take(file.path, LIMIT_BYTES)
    file.append([("a", b"1")])
    file.close()
    taken = spool.take(file.path, LIMIT_BYTES)
    assert taken.counts() == {"a": 1}
    assert spool.is_in_use(file.path)
    taken.close()
    assert not spool.is_in_use(file.path)
    with pytest.raises(SpoolError, match="does not exist"):
        spool.take(tmp_path / "gone.spool", LIMIT_BYTES)
    assert not (tmp_path / "gone.spool.lock").exists()
