"""What `callbox spool` shows, in the words that it ends with."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from deploy.commands.main import main
from ingress import spool
from ingress.adoption import Adoption
from ingress.spool import Spool
from shared.callback import pack
from tests.ingress.conftest import a_callback

LIMIT_BYTES = 1 << 20


class Said(NamedTuple):
    code: int
    out: str
    err: str


class Say:
    """Runs a command of `callbox` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str) -> Said:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        code = ended.value.code
        assert isinstance(code, int) or code is None
        return Said(code or 0, *self._capsys.readouterr())


@pytest.fixture
def say(folder: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    return Say(capsys)


def spooled(folder: Path) -> Spool:
    file = spool.create(folder, LIMIT_BYTES)
    file.append([("fleet", pack(a_callback())), ("otp", pack(a_callback(source="otp"))), ("fleet", b"")])
    return file


def test_a_list_has_each_file_whether_its_ingress_runs_and_what_is_in_it_by_source(folder: Path, say: Say) -> None:
    gone, runs = spooled(folder / "spool"), spooled(folder / "spool")
    gone.close()
    _, _, *lines = say("spool", "list").out.splitlines()
    found = {words[0]: (words[1], " ".join(words[2:6])) for words in map(str.split, lines)}
    assert found == {gone.path.name: ("gone", "fleet 2, otp 1"), runs.path.name: ("runs", "fleet 2, otp 1")}
    runs.close()


def test_a_list_for_programs_has_bytes_age_and_what_cannot_be_read(folder: Path, say: Say) -> None:
    elsewhere = folder / "mounted"
    file = spooled(elsewhere)
    file.close()
    (elsewhere / "junk.spool").write_bytes(b"junk" * 1000)
    said = say("spool", "list", "mounted", "--json")
    junk, good = sorted(json.loads(said.out), key=lambda row: row["wrong"] is None)
    assert (good["in_use"], good["callbacks"], good["bytes"]) == (
        False,
        {"fleet": 2, "otp": 1},
        file.path.stat().st_size,
    )
    assert good["oldest_seconds"] > 0
    assert junk == {
        **dict.fromkeys(good),
        "file": "junk.spool",
        "wrong": "it cannot be read as a spool (file is not a database)",
    }
    assert (said.code, said.err) == (
        1,
        "callbox: mounted: junk.spool cannot be read; look at the file and at its rights\n",
    )


def test_a_folder_without_spool_files_is_no_failure(folder: Path, say: Say) -> None:
    assert say("spool", "list") == (0, "no spool files in spool\n", "")
    assert say("spool", "list", "--json") == (0, "[]\n", "")
    assert say("spool", "adopt", ".") == (0, "no callbacks were moved\n", "")


@pytest.mark.parametrize("words", [("list", "nowhere"), ("adopt", "nowhere"), ("adopt",)])
def test_a_path_that_does_not_exist_or_is_missing_is_a_wrong_usage(words: tuple[str, ...], say: Say) -> None:
    assert say("spool", *words).code == 2


def test_a_file_that_is_refused_does_not_keep_the_others_of_the_folder_and_each_has_its_reason(
    folder: Path, say: Say, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLBOX_REDIS_URL", redis_url)
    monkeypatch.setenv("CALLBOX_APPEND_SECONDS", "20")
    runs, gone = spooled(folder / "spool"), spooled(folder / "spool")
    gone.close()
    (folder / "spool" / "junk.spool").write_bytes(b"junk" * 1000)
    said = say("spool", "adopt", "spool", "--json")
    assert json.loads(said.out) == {"moved": {"fleet": 2, "otp": 1}}
    (line,) = said.err.splitlines()
    assert f"spool/{runs.path.name}: its ingress runs, and moves it by itself" in line
    assert "spool/junk.spool: it cannot be read as a spool (file is not a database)" in line
    assert said.code == 1
    assert not gone.path.exists()
    runs.close()
    *_, fleet, otp = say("spool", "adopt", str(runs.path)).out.splitlines()
    assert (fleet.split(), otp.split()) == (["2", "fleet"], ["1", "otp"])


def test_while_redis_is_away_it_says_so_and_the_file_stays(
    folder: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLBOX_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("CALLBOX_CONNECT_SECONDS", "0.1")
    file = spooled(folder / "spool")
    file.close()
    said = say("spool", "adopt", "spool")
    assert (said.code, said.out) == (1, "no callbacks were moved\n")
    assert said.err.startswith("callbox: Redis does not answer (")
    assert said.err.count("\n") == 1
    assert file.path.exists()


def test_an_interrupted_adoption_says_what_it_moved_and_what_to_do(
    folder: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupt(adoption: Adoption) -> None:
        await adoption.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(Adoption, "move", interrupt)
    spooled(folder / "spool").close()
    said = say("spool", "adopt", "spool")
    assert said == (
        1,
        "no callbacks were moved\n",
        "callbox: interrupted: what is not moved is still in spool; adopt it again\n",
    )
