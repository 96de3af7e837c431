"""The configuration that a running process has, and the next one."""

from pathlib import Path
from typing import Any, cast

import pytest
import structlog
from structlog.testing import LogCapture

from shared import config, current
from shared.config import Config
from shared.current import Current
from shared.fingerprint import of_sources
from shared.providers import PROVIDERS

FLEET = '[sources.fleet]\nprovider = "emnify"\nsecrets = ["a secret"]\n'
OTHER = '[sources.other]\nprovider = "emnify"\nunsigned = true\n'


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    capture = LogCapture()
    monkeypatch.setattr(current, "log", structlog.wrap_logger(None, processors=[capture]))
    return cast(list[dict[str, Any]], capture.entries)


def test_it_takes_what_the_file_holds_now_and_a_mistake_changes_nothing(
    tmp_path: Path, logged: list[dict[str, Any]]
) -> None:
    path = tmp_path / "callbox.toml"

    def read() -> Config:
        return config.load(path, {}, PROVIDERS)

    path.write_text(FLEET)
    first = read()
    process = Current(first, read)
    path.write_text(OTHER + "provider = 1\n")
    assert not process.read_again()
    assert process.configuration is first
    assert process.report("worker").has_refused
    assert process.report("worker").configuration == of_sources(first.sources.values())
    assert [entry["event"] for entry in logged] == ["configuration refused"]

    path.write_text(FLEET.replace("a secret", "another") + OTHER)
    assert process.read_again()
    assert process.configuration == read()
    report = process.report("ingress")
    assert (report.has_refused, report.configuration) == (False, of_sources(read().sources.values()))
    path.write_text(OTHER)
    assert process.read_again()
    assert [{key: entry.get(key) for key in ("added", "removed", "changed")} for entry in logged[1:]] == [
        {"added": ["other"], "removed": None, "changed": ["fleet"]},
        {"added": None, "removed": ["fleet"], "changed": None},
    ]


def test_every_mistake_is_logged_in_the_words_of_check(tmp_path: Path, logged: list[dict[str, Any]]) -> None:
    path = tmp_path / "callbox.toml"
    path.write_text(FLEET)

    def read() -> Config:
        return config.load(path, {}, PROVIDERS)

    process = Current(read(), read)
    path.write_text('[sources.a]\nprovider = "nobody"\n[sources.b]\nprovider = "emnify"\nx = 1\nunsigned = true\n')
    with pytest.raises(config.ConfigError) as raised:
        read()
    assert not process.read_again()
    assert [entry["why"] for entry in logged] == raised.value.mistakes
    assert len(logged) == 2


def test_what_cannot_be_handed_on_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "callbox.toml"

    def read() -> Config:
        return config.load(path, {}, PROVIDERS)

    def fail(_: Config) -> None:
        raise OSError("no room")

    path.write_text(FLEET)
    first = read()
    process = Current(first, read)
    path.write_text(OTHER)
    with pytest.raises(OSError, match="no room"):
        process.read_again(fail)
    report = process.report("worker")
    assert process.configuration is first
    assert (report.has_refused, report.configuration) == (True, of_sources(first.sources.values()))
    assert process.read_again()
    assert not process.report("worker").has_refused
