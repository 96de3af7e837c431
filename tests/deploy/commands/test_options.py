"""The options that commands share, and how several become one argument."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from click.testing import CliRunner

from deploy.commands.dead_letters import filter_options, selection_options
from deploy.commands.options import configured_system_options, gathered, limit_option, since_option, system_options
from deploy.commands.up import roles_options
from deploy.local.files import write_addresses
from deploy.local.plan import Roles
from deploy.system import System
from workers.dead_letters import Filter


def values(*decorators: Any, words: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a command with these options is called with. Raises click.UsageError."""
    got: dict[str, Any] = {}

    def command(**given: Any) -> None:
        got.update(given)

    decorated: Any = command
    for decorator in reversed(decorators):
        decorated = decorator(decorated)
    click.command()(decorated).main(list(words), standalone_mode=False)
    return got


class Pair(NamedTuple):
    first: str
    second: int = 7


def test_options_are_gathered_in_one_argument_and_the_others_left_alone() -> None:
    pair = gathered("pair", Pair, click.option("--first"))
    assert values(pair, limit_option, words=("--first", "a", "--limit", "3")) == {"pair": Pair("a", 7), "limit": 3}


def test_the_help_shows_gathered_options_in_their_order() -> None:
    pair = gathered("pair", Pair, click.option("--first"), click.option("--second", type=int))

    @click.command()
    @pair
    def command(pair: Pair) -> None:
        pass

    text = CliRunner().invoke(command, ["--help"]).output
    assert text.index("--first") < text.index("--second") < text.index("--help")


@pytest.mark.parametrize("text", ["2026-01-31", "2026-01-31T00:00:00"])
def test_a_time_is_in_utc(text: str) -> None:
    assert values(since_option, words=("--since", text)) == {"since": datetime(2026, 1, 31, tzinfo=UTC)}


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(click.UsageError, match="yesterday"):
        values(since_option, words=("--since", "yesterday"))


def test_a_filter_has_what_is_given() -> None:
    words = ("--source", "fleet", "--reason", "not JSON", "--since", "2026-01-31")
    wanted = Filter(source="fleet", reason="not JSON", since=datetime(2026, 1, 31, tzinfo=UTC))
    assert values(filter_options, words=words) == {"wanted": wanted}
    assert values(filter_options) == {"wanted": Filter()}


def test_a_selection_has_ids_beside_the_filter_and_everything_is_chosen_on_purpose() -> None:
    assert values(selection_options, words=("3", "4", "--source", "a")) == {"wanted": Filter(ids=(3, 4), source="a")}
    assert values(selection_options, words=("--all",)) == {"wanted": Filter()}
    with pytest.raises(click.UsageError, match="choose some"):
        values(selection_options)


def test_roles_have_their_defaults_and_their_limits() -> None:
    assert values(roles_options) == {"roles": Roles(ingresses=1, workers=2, flower=True)}
    words = ("--ingress", "0", "--workers", "64", "--no-flower")
    assert values(roles_options, words=words) == {"roles": Roles(0, 64, False)}
    with pytest.raises(click.UsageError, match="65"):
        values(roles_options, words=("--workers", "65"))


def test_the_system_is_that_of_the_environment_before_that_of_the_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "var").mkdir()
    write_addresses(
        folder / "var", {"CALLBOX_REDIS_URL": "redis://of-the-folder", "CALLBOX_URL": "http://of-the-folder"}
    )
    monkeypatch.setenv("CALLBOX_REDIS_URL", "redis://of-the-environment")
    system = values(system_options)["system"]
    assert system.settings.redis_url == "redis://of-the-environment"
    assert system.environ["CALLBOX_URL"] == "http://of-the-folder"
    assert "CALLBOX_URL" not in values(system_options, words=("--data", "other"))["system"].environ


def test_without_a_folder_it_is_that_of_an_up_or_else_of_the_demonstration(folder: Path) -> None:
    def url(*words: str) -> str | None:
        found: str | None = values(system_options, words=words)["system"].environ.get("CALLBOX_URL")
        return found

    for name in ("demo", "var"):
        (folder / name).mkdir()
    assert url() is None
    redis = {"CALLBOX_REDIS_URL": "redis://127.0.0.1:1/0"}
    write_addresses(folder / "demo", {"CALLBOX_URL": "http://of-the-demo", **redis})
    assert url() == "http://of-the-demo"
    write_addresses(folder / "var", {"CALLBOX_URL": "http://of-up", **redis})
    assert (url(), url("--data", "demo")) == ("http://of-up", "http://of-the-demo")


def test_a_folder_where_none_runs_is_a_mistake_unless_the_environment_names_the_servers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(click.BadParameter, match="no `callbox up` runs in elsewhere"):
        values(system_options, words=("--data", "elsewhere"))
    monkeypatch.setenv("CALLBOX_DATABASE_URL", "postgresql://127.0.0.1:1/x")
    assert values(system_options, words=("--data", "elsewhere"))["system"].names_servers


@pytest.mark.parametrize(
    ("option", "words", "says"),
    [
        (limit_option, ("--limit", "99999999999999999999"), "is not in the range 1<=x<=1000000"),
        (limit_option, ("--limit", "many"), "'many' is not a valid whole number"),
        (since_option, ("--since", "yesterday"), "'yesterday' is no time like 2026-01-31 or 2026-01-31T12:00:00"),
    ],
)
def test_a_number_or_a_time_that_is_none_is_a_mistake(option: Any, words: tuple[str, ...], says: str) -> None:
    with pytest.raises(click.BadParameter, match=says):
        values(option, words=words)


def test_a_configured_system_knows_its_file(folder: Path) -> None:
    system = values(configured_system_options, words=("--config", "mine.toml"))["system"]
    assert isinstance(system, System)
    assert system.config_path == Path("mine.toml")
    assert values(configured_system_options)["system"].config_path is None
