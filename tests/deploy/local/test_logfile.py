"""The logs of the children: bounded, in whole lines, and without anybody waiting."""

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import logfile
from deploy.local.supervisor import die_with_parent

WRITER = """
import os, time
for number in range(20_000):
    os.write(1, b"line %08d\\n" % number)
    if number % 20 == 0:
        time.sleep(0.0005)
"""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "LOG_BYTES", 40_000)


def test_while_a_child_writes_its_log_stays_small_and_in_whole_lines(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    with log.open("ab") as output:
        child = subprocess.Popen([sys.executable, "-c", WRITER], stdout=output, preexec_fn=die_with_parent)
    while child.poll() is None:
        logfile.limit(log)
    assert child.returncode == 0
    kept = [log.with_name(f"child.log.{number}") for number in (4, 3, 2, 1)] + [log]
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert all(path.stat().st_size < 100_000 for path in kept)
    lines = "".join(path.read_text() for path in kept).splitlines()
    numbers = [int(line.removeprefix("line ")) for line in lines if len(line) == 13]
    assert len(numbers) == len(lines)
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 19_999
    lost = numbers[-1] - numbers[0] + 1 - len(numbers)
    assert lost < len(numbers) / 20, "more than what is written in a moment"


def test_a_log_of_the_real_size_goes_on_from_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    log = tmp_path / "child.log"
    with log.open("ab", buffering=0) as child:
        child.write(bytes(logfile.LOG_BYTES + 1))
        logfile.limit(log)
        child.write(b"goes on\n")
        logfile.limit(log)
    assert log.read_bytes() == b"goes on\n"
    assert (tmp_path / "child.log.1").stat().st_size == logfile.LOG_BYTES + 1
    assert len(list(tmp_path.iterdir())) == 2


def test_a_log_within_its_size_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    log.write_bytes(bytes(40_000))
    logfile.limit(log)
    logfile.limit(tmp_path / "none.log")
    assert [path.name for path in tmp_path.iterdir()] == ["child.log"]
    assert log.stat().st_size == 40_000


def test_on_a_full_disk_the_limit_is_kept_and_nothing_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(source: Path, target: Path) -> None:
        target.write_text("a part")
        raise OSError(errno.ENOSPC, "No space left on device")

    log = tmp_path / "child.log"
    log.write_bytes(bytes(40_001))
    monkeypatch.setattr(shutil, "copyfile", no_room)
    logfile.limit(log)
    assert log.stat().st_size == 0
    assert [path.name for path in tmp_path.iterdir()] == ["child.log"]


def test_the_logs_of_the_last_starts_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    for start in range(7):
        log.write_text(f"{start}")
        logfile.set_aside(log)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "child.log.1": "6",
        "child.log.2": "5",
        "child.log.3": "4",
        "child.log.4": "3",
    }
