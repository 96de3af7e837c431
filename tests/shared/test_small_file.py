"""The small text files of a configuration: callbox.toml, .env, and those of secrets."""

import os
from pathlib import Path

import pytest

from shared import config
from shared.config import ConfigError
from shared.providers import PROVIDERS
from shared.small_file import MOST_BYTES, Missing, Unreadable, read_small_file

SOURCE = '[sources.fleet]\nprovider = "emnify"\nsecrets = ["{}"]\n'


def test_what_a_file_holds_also_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("Grüße")
    (tmp_path / "link").symlink_to("secret")
    assert read_small_file(tmp_path / "link") == "Grüße"


def test_what_might_never_end_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(Unreadable, match="is a pipe or a device, not a file"):
            read_small_file(path)


def test_what_cannot_be_meant_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * MOST_BYTES)
    assert len(read_small_file(tmp_path / "large")) == MOST_BYTES
    os.truncate(tmp_path / "large", 1 << 40)
    with pytest.raises(Unreadable, match="has more than 1,048,576 bytes: is it the right file"):
        read_small_file(tmp_path / "large")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(Unreadable, match="cannot be read: Too many levels of symbolic links"):
        read_small_file(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to("gone")
    with pytest.raises(Missing):
        read_small_file(tmp_path / "dangling")


def test_a_configuration_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "callbox.toml"
    path.write_text(SOURCE.format("a-secret-of-emnify"), encoding="utf-8-sig")
    assert list(config.load(path, {}, PROVIDERS).sources) == ["fleet"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (SOURCE.format("file:a\\u0000b"), "sources.fleet.secrets[0]: FOLDER/a\0b cannot be read: its name has a NUL"),
        (SOURCE.format("file:/dev/zero"), "sources.fleet.secrets[0]: /dev/zero is a pipe or a device, not a file"),
        ("a = " + "[" * 100_000, "is nested too deeply"),
    ],
)
def test_a_process_that_reads_again_gets_a_mistake_and_never_another_error(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "callbox.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(path, {}, PROVIDERS)
    assert caught.value.mistakes == [f"{path}: {says}".replace("FOLDER", str(tmp_path))]
