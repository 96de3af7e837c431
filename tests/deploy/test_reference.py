"""docs/configuration.md is what the sources say."""

from dataclasses import fields

from deploy.reference import PAGE, document
from shared.providers import PROVIDERS
from shared.settings import Settings, variable
from shared.source import KEYS


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), "run `make docs`"


def test_the_page_has_every_setting_and_every_key() -> None:
    names = {variable(setting.name) for setting in fields(Settings)} | KEYS.keys()
    names |= {name for provider in PROVIDERS.values() for name in provider.OPTIONS}
    assert not {name for name in names if f"| `{name}` |" not in document()}
