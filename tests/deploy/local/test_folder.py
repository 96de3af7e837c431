"""The folder of a `callbox up`."""

from pathlib import Path

import pytest

from deploy.local.errors import CannotStart
from deploy.local.files import write_addresses
from deploy.local.folder import claimed, clear


def test_it_is_made_with_what_belongs_into_it(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "var"
    with claimed(folder):
        assert {path.name for path in folder.iterdir()} == {"logs", "metrics", "lock"}


def refusal(folder: Path) -> str:
    with pytest.raises(CannotStart) as refused, claimed(folder):
        pass
    return str(refused.value)


def test_a_second_one_learns_where_the_first_runs_and_may_come_after_it(tmp_path: Path) -> None:
    with claimed(tmp_path):
        assert refusal(tmp_path).startswith(f"another Callbox is starting, over {tmp_path}: stop it")
        write_addresses(tmp_path, {"CALLBOX_URL": "http://127.0.0.1:8000"})
        assert refusal(tmp_path).startswith("another Callbox runs already at http://127.0.0.1:8000, over")
    with claimed(tmp_path):
        pass


def test_one_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "var"
    assert refusal(folder).startswith(f"{folder}: cannot be written to: ")


def test_clearing_removes_old_metrics_and_sets_old_logs_aside(tmp_path: Path) -> None:
    with claimed(tmp_path):
        (tmp_path / "metrics" / "counter_1.db").write_text("")
        (tmp_path / "logs" / "beat.log").write_text("old")
        clear(tmp_path)
    assert list((tmp_path / "metrics").iterdir()) == []
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["beat.log.1"]
