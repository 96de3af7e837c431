"""`callbox up` as its operator sees it. What it promises of its processes is in tests/pipeline/test_up.py."""

import errno
from pathlib import Path

import pytest

from deploy.local import up
from deploy.local.plan import Plan, Roles
from shared import config
from shared.providers import PROVIDERS


def test_a_terminal_or_a_disk_that_takes_no_line_is_no_reason_to_stop() -> None:
    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        raise OSError(errno.ENOSPC, "No space left on device")

    up._patient(report)("worker-1 was ended by SIGKILL; starting it again")
    assert lines == ["worker-1 was ended by SIGKILL; starting it again"]


def test_it_runs_on_when_it_cannot_show_that_it_is_ready(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "callbox.toml").write_text('[sources.fleet]\nprovider = "emnify"\nunsigned = true\n')
    configuration = config.load(folder / "callbox.toml", {}, PROVIDERS)
    running = up.Up(Plan.of(configuration, folder / "var", 0, Roles(flower=False)), lambda line: None)
    seen = []

    def fail() -> None:
        seen.append("ready")
        raise OSError(errno.ENOSPC, "No space left on device")

    def tend() -> None:
        seen.append("tended")
        running._stopping = True

    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("os.umask", lambda _: 0)
    monkeypatch.setattr(running, "_start", lambda _: None)
    monkeypatch.setattr(running, "_tend", tend)
    running.run(fail)
    assert seen == ["ready", "tended"]
