"""The file `.env` beside a callbox.toml."""

from pathlib import Path

import pytest

from shared import config
from shared.config import ConfigError
from shared.env_file import read_env_file
from shared.providers import PROVIDERS

SOURCE = '[sources.fleet]\nprovider = "emnify"\nsecrets = ["${SECRET}"]\n'


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("SECRET=plain", "plain"),
        ("export SECRET=plain", "plain"),
        ("  SECRET=plain  \r", "plain"),
        ("SECRET=with=signs#and$dollar", "with=signs#and$dollar"),
        ("SECRET=plain # a remark", "plain"),
        ("SECRET='one # two'", "one # two"),
        ('SECRET="one # two" # a remark', "one # two"),
        ("SECRET='it''s'", "'it''s'"),
        ("SECRET='", "'"),
        ("SECRET=", ""),
        ("SECRET=first\nSECRET=last", "last"),
    ],
)
def test_a_line_is_a_name_and_its_value(tmp_path: Path, line: str, value: str) -> None:
    path = tmp_path / ".env"
    path.write_text(f"# a remark\n\n{line}\n")
    mistakes: list[str] = []
    assert read_env_file(path, mistakes) == {"SECRET": value}
    assert mistakes == []


@pytest.mark.parametrize("line", ["a secret", "1A=x", "A-B=x", "A B=x", "=x"])
def test_a_line_that_is_none_is_a_mistake_that_does_not_quote_it(tmp_path: Path, line: str) -> None:
    path = tmp_path / ".env"
    path.write_text(f"A=1\n{line}\nB=2\n")
    mistakes: list[str] = []
    assert read_env_file(path, mistakes) == {"A": "1", "B": "2"}
    assert mistakes == [f"{path}: line 2 is not NAME=value"]


def test_what_cannot_be_read_is_a_mistake_and_no_file_is_none(tmp_path: Path) -> None:
    mistakes: list[str] = []
    assert read_env_file(tmp_path / ".env", mistakes) is None
    assert mistakes == []
    (tmp_path / ".env").write_bytes(b"A=\xff")
    assert read_env_file(tmp_path / ".env", mistakes) == {}
    (tmp_path / "folder").mkdir()
    assert read_env_file(tmp_path / "folder", mistakes) == {}
    assert mistakes == [
        f"{tmp_path / '.env'}: is not UTF-8 (byte 2)",
        f"{tmp_path / 'folder'}: cannot be read: Is a directory",
    ]


def test_the_environment_comes_before_it(tmp_path: Path) -> None:
    (tmp_path / "callbox.toml").write_text(SOURCE)
    (tmp_path / ".env").write_text("SECRET=of-the-file\n")

    def secrets(**environ: str) -> tuple[str, ...]:
        return config.load(tmp_path / "callbox.toml", environ, PROVIDERS).sources["fleet"].secrets

    assert secrets() == ("of-the-file",)
    assert secrets(SECRET="") == ("of-the-file",)
    assert secrets(SECRET="of-the-environment") == ("of-the-environment",)


def test_what_neither_has_is_one_mistake(tmp_path: Path) -> None:
    (tmp_path / "callbox.toml").write_text(SOURCE)
    (tmp_path / ".env").write_text("SECRET=\nbroken\n")
    with pytest.raises(ConfigError) as raised:
        config.load(tmp_path / "callbox.toml", {}, PROVIDERS)
    missing = f"the environment variable SECRET is not set, nor is it in {tmp_path / '.env'}"
    assert raised.value.mistakes == [
        f"{tmp_path / '.env'}: line 2 is not NAME=value",
        f"{tmp_path / 'callbox.toml'}: sources.fleet.secrets[0]: {missing}",
    ]
