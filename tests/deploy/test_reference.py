"""What is generated is what the sources say."""

from dataclasses import fields
from pathlib import Path

import pytest

from deploy.reference import document, files, metrics
from shared.catalogue import CATALOGUE
from shared.providers import PROVIDERS
from shared.settings import Settings, variable
from shared.source import KEYS


@pytest.mark.parametrize(("path", "text"), files().items(), ids=[path.name for path in files()])
def test_the_file_is_current(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, "run `make docs`"


def test_the_page_has_every_setting_and_every_key() -> None:
    names = {variable(setting.name) for setting in fields(Settings)} | KEYS.keys()
    names |= {name for provider in PROVIDERS.values() for name in provider.OPTIONS}
    assert not {name for name in names if f"| `{name}` |" not in document()}


def test_the_page_of_the_metrics_has_each_of_them() -> None:
    assert not {metric.name for metric in CATALOGUE if metrics().count(f"| `{metric.name}` | {metric.kind} |") != 1}
