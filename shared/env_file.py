"""The file `.env` beside a callbox.toml: values for its `${NAME}`, where the environment has none.

A process keeps its environment as long as it lives, and this file can be read again: a secret in it may change while
everything runs.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from shared.small_file import BYTE_ORDER_MARK, Missing, Unreadable, read_small_file

NAME = ".env"

_LINE = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_COMMENT = re.compile(r"(?:^|[ \t])#.*")


def beside(path: Path) -> Path:
    """The `.env` of this callbox.toml, whether or not there is one."""
    return path.parent / NAME


def read_env_file(path: Path, mistakes: list[str]) -> Mapping[str, str] | None:
    """What the file sets: `NAME=value` a line, the value as it is, or in quotes of either kind. Blank lines count for
    nothing, nor does what follows `#` at the beginning of a line or after a blank. None without the file. Adds a
    sentence to `mistakes` for each line that cannot be read."""
    try:
        lines = read_small_file(path).removeprefix(BYTE_ORDER_MARK).splitlines()
    except Missing:
        return None
    except Unreadable as error:
        mistakes.append(f"{path}: {error}")
        return {}
    found: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            mistakes.append(f"{path}: line {number} is not NAME=value")
            continue
        found[match[1]] = _unquoted(match[2].strip())
    return found


def _unquoted(text: str) -> str:
    quote = text[:1]
    if quote in ("'", '"') and (end := text.find(quote, 1)) > 0 and not _COMMENT.sub("", text[end + 1 :]).strip():
        return text[1:end]
    return _COMMENT.sub("", text).strip()
