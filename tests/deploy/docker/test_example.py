"""The example configuration."""

import re
import tomllib

from shared import config
from shared.providers import PROVIDERS
from tests.deploy.docker.support import DOCKER


def test_the_example_configuration_can_be_used_and_shows_every_provider_once() -> None:
    path = DOCKER / "callbox.example.toml"
    environ = {name: f"value-of-{name}" for name in re.findall(r"\$\{(\w+)\}", path.read_text())}
    loaded = config.load(path, environ, PROVIDERS)
    assert sorted(source.provider for source in loaded.sources.values()) == sorted(PROVIDERS)
    for source in loaded.sources.values():
        assert source.secrets or source.token
        assert not source.unsigned


def test_the_example_configuration_holds_no_secret() -> None:
    document = tomllib.loads((DOCKER / "callbox.example.toml").read_text())
    for table in document["sources"].values():
        for secret in (*table.get("secrets", ()), *([table["token"]] if "token" in table else ())):
            assert re.fullmatch(r"\$\{\w+\}", secret)
