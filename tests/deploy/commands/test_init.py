"""The first configuration."""

import re
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deploy import examples
from deploy.commands import init as init_command
from deploy.commands.main import main
from shared import config
from shared.config import Config, ConfigError
from shared.providers import PROVIDERS

URL = "https://sms.example.org"


def init(*words: str) -> Result:
    return CliRunner().invoke(main, ["init", *words])


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def load(folder: Path) -> Config:
    return config.load(folder / "callbox.toml", {}, PROVIDERS)


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_provider_says_what_each_variable_of_its_example_is(name: str) -> None:
    console = PROVIDERS[name].CONSOLE
    assert sorted([*console.made, *console.given]) == sorted(dict(examples.variables())[name])
    assert console.place
    assert not any(text.endswith(".") for text in (console.place, *console.made.values(), *console.given.values()))


@pytest.mark.parametrize("name", PROVIDERS)
def test_with_what_the_provider_gives_the_files_are_a_configuration(folder: Path, name: str) -> None:
    done = init(name, "--url", URL)
    assert done.exit_code == 0, done.stderr
    console = PROVIDERS[name].CONSOLE
    assert f"{URL}/callbacks/{name}" in done.stdout
    assert console.place in done.stdout
    missing = [line for line in done.stdout.splitlines() if line.startswith("Missing")]
    assert len(missing) == len(console.given)
    for variable, meaning in console.given.items():
        assert f"Missing: {variable} in .env has no value yet: {meaning}." in missing
    if console.given:
        with pytest.raises(ConfigError) as raised:
            load(folder)
        assert len(raised.value.mistakes) == len(console.given)
    text = (folder / ".env").read_text()
    for variable in console.given:
        text = text.replace(f"{variable}=\n", f"{variable}=a-secret-of-the-provider\n")
    (folder / ".env").write_text(text)
    (source,) = load(folder).sources.values()
    assert (source.name, source.provider) == (name, name)
    assert source.secrets or source.token


def test_every_secret_is_new_and_private_and_not_shown_unless_asked(folder: Path) -> None:
    shown = init("--url", URL, "emnify", "nxcloud").stdout
    assert mode(folder / ".env") == 0o600
    made = re.findall(r"^\w+=([0-9a-f]{40})$", (folder / ".env").read_text(), re.MULTILINE)
    assert len(set(made)) == 2
    assert not [value for value in made if value in shown + (folder / "callbox.toml").read_text()]
    assert f"{URL}/callbacks/nxcloud/${{NXCLOUD_TOKEN}}" in shown
    for name in (".env", "callbox.toml"):
        (folder / name).unlink()
    revealed = init("--url", f"{URL}/callbacks/", "--reveal", "nxcloud").stdout
    assert re.search(rf"{URL}/callbacks/nxcloud/[0-9a-f]{{40}}$", revealed, re.MULTILINE)


@pytest.mark.parametrize("there", [".env", "callbox.toml"])
def test_nothing_is_written_over(folder: Path, there: str) -> None:
    (folder / there).write_text("mine")
    done = init("emnify")
    assert (done.exit_code, done.stderr) == (
        1,
        f"callbox: {there} is there already, and stays as it is: nothing was written\n",
    )
    assert [path.name for path in folder.iterdir()] == [there]
    assert (folder / there).read_text() == "mine"


def test_where_nothing_can_be_written_nothing_is_left(folder: Path) -> None:
    done = init("emnify", "--config", "nowhere/callbox.toml")
    assert (done.exit_code, done.stderr) == (1, "callbox: nowhere/.env: cannot be written: No such file or directory\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name one or more providers: emnify, "),
        (["nobody"], "there is no provider nobody, only emnify, "),
        (["emnify", "--url", "sms.example.org"], "give the address that providers call"),
        (["emnify", "--url", "https://u:p@sms.example.org"], "give the address that providers call"),
    ],
)
def test_a_wrong_usage_writes_nothing(folder: Path, words: list[str], says: str) -> None:
    done = init(*words)
    assert done.exit_code == 2
    assert says in done.stderr
    assert list(folder.iterdir()) == []


def test_without_an_address_it_says_so(folder: Path) -> None:
    assert f"Missing: {examples.URL} is no address of yours" in init("emnify").stdout


def test_at_a_terminal_it_asks_which_providers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init_command, "answer_to", lambda question: " emnify, nxcloud")
    assert init("--url", URL).exit_code == 0
    assert list(load(folder).sources) == ["emnify", "nxcloud"]
