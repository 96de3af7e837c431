"""The files that a running `callbox up` keeps in its folder."""

import errno
import json
import os
from pathlib import Path

import pytest

from deploy.local.files import read_addresses, read_password, remove_traces, write_addresses, write_pids, write_private


def test_addresses_are_read_as_they_were_written(tmp_path: Path) -> None:
    addresses = {"CALLBOX_URL": "http://127.0.0.1:1", "CALLBOX_DATABASE_URL": "postgresql://a:b=c@h/d?x=y"}
    write_addresses(tmp_path, addresses)
    assert read_addresses(tmp_path) == addresses
    assert (tmp_path / "env").read_text().splitlines()[0] == "CALLBOX_URL=http://127.0.0.1:1"


def test_without_a_running_up_there_are_none(tmp_path: Path) -> None:
    assert read_addresses(tmp_path) == {}
    write_addresses(tmp_path, {"CALLBOX_URL": "x"})
    write_pids(tmp_path, {"beat": 7})
    remove_traces(tmp_path)
    assert list(tmp_path.iterdir()) == []
    remove_traces(tmp_path)


def test_process_ids_are_json(tmp_path: Path) -> None:
    write_pids(tmp_path, {"beat": 7, "ingress-1": 8})
    assert json.loads((tmp_path / "pids.json").read_text()) == {"beat": 7, "ingress-1": 8}


def test_a_password_stays_the_same_and_differs_from_others(tmp_path: Path) -> None:
    first = read_password(tmp_path / "a")
    assert len(first) >= 32
    assert read_password(tmp_path / "a") == first
    assert read_password(tmp_path / "b") != first


def test_a_private_file_is_its_owners_only_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_private(tmp_path / "a", "one")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdopen", fail)
    with pytest.raises(OSError, match="No space"):
        write_private(tmp_path / "a", "two")
    assert (tmp_path / "a").read_text() == "one"
