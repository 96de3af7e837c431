"""What `callbox send` reports of the answers."""

from pathlib import Path

import click
import pytest

from deploy.commands.main import main
from deploy.commands.send import summary
from deploy.commands.sources import find_source
from deploy.local.sender import Answer
from deploy.output import LONG_RUN
from shared.config import Config
from shared.settings import Settings
from shared.source import Source

HOW = "run `callbox reload`"
RESTART = f"the running ingress: {HOW}"
URL = "http://127.0.0.1:8000"


def test_what_was_accepted_is_listed_with_its_times() -> None:
    answers = [Answer(200, f"id-{number}", number / 1000) for number in (3, 1, 2)]
    assert list(summary(answers, URL)) == [
        "accepted id-3",
        "accepted id-1",
        "accepted id-2",
        "3 of 3 accepted, half within 2.0 ms, 99 % within 3.0 ms",
    ]


def test_many_ids_are_not_listed() -> None:
    assert len(list(summary([Answer(200, "id", 0.001)] * LONG_RUN, URL))) == 1


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (Answer(503, None, 0.1), f"not accepted: 2 × HTTP 503 ({URL})"),
        (
            Answer(0, None, 0.1, "Connection refused"),
            (
                f"not accepted: 2 × Connection refused ({URL}): no ingress answers there: start `callbox up`, name its"
                " folder with --data, or set CALLBOX_URL"
            ),
        ),
        (
            Answer(401, None, 0.1),
            f"not accepted: 2 × HTTP 401 ({URL}): the secrets of the source differ from those of {RESTART}",
        ),
        (
            Answer(404, None, 0.1),
            f"not accepted: 2 × HTTP 404 ({URL}): the running ingress does not know the source or its token: {HOW}",
        ),
    ],
)
def test_what_was_not_accepted_is_counted_by_its_reason_with_what_to_do(answer: Answer, line: str) -> None:
    assert list(summary([answer, answer], URL)) == [line]


def test_a_source_that_does_not_exist_names_those_that_do() -> None:
    sources = {name: Source(name, "emnify") for name in ("fleet", "otp")}
    configuration = Config(Path("callbox.toml"), Settings(), sources)
    assert find_source(configuration, "otp") is sources["otp"]
    with pytest.raises(click.BadParameter, match=r"there is no source x in callbox\.toml, only fleet, otp"):
        find_source(configuration, "x")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:80000", "http://127.0.0.1:x", "ftp://127.0.0.1", "127.0.0.1:8000", "http://h/callbacks"]
)
def test_what_is_no_address_of_an_ingress_is_a_mistake(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    (folder / "callbox.toml").write_text('[sources.fleet]\nprovider = "emnify"\nunsigned = true\n')
    monkeypatch.setenv("CALLBOX_URL", url)
    with pytest.raises(SystemExit) as ended:
        main(["send", "fleet", "--yes"])
    assert ended.value.code == 2
    assert "CALLBOX_URL is not the address of an ingress, like http://127.0.0.1:8000" in capsys.readouterr().err
