"""What `callbox up` is to run."""

from pathlib import Path

import pytest

from deploy.local.plan import Plan, Roles
from shared.config import Config
from shared.settings import Settings

CONFIGURATION = Config(Path("callbox.toml"), Settings(), {})


def test_servers_come_along_unless_the_environment_names_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Plan.of(CONFIGURATION, Path("var"), 8000, Roles())
    assert (alone.redis_url, alone.database_url) == (None, None)
    assert alone.folder == folder / "var"
    monkeypatch.setenv("CALLBOX_REDIS_URL", "redis://elsewhere")
    monkeypatch.setenv("CALLBOX_DATABASE_URL", "")
    named = Plan.of(CONFIGURATION, Path("var"), 8000, Roles())
    assert (named.redis_url, named.database_url) == ("redis://elsewhere", None)
