"""Where the files of an operator are, and how to read them."""

import tomllib
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "deploy" / "docker"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIGEST = r"(@sha256:[0-9a-f]{64})?"  # `make lock` adds it where Docker can be asked
PROMISED = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}


def options_in(command: list[str]) -> list[str]:
    return [part.partition("=")[0] for part in command if part.startswith("-")]


class Locked(NamedTuple):
    requirement: Requirement
    hashes: list[str]

    @property
    def version(self) -> str:
        (specifier,) = self.requirement.specifier
        assert specifier.operator == "=="
        return specifier.version


def read_lock(text: str) -> dict[str, Locked]:
    locked: dict[str, Locked] = {}
    for line in text.replace("\\\n", " ").splitlines():
        requirement, *hashes = line.split(" --hash=")
        if not line.strip() or line.startswith("#"):
            continue
        parsed = Requirement(requirement.strip())
        name = canonicalize_name(parsed.name)
        assert name not in locked, name
        locked[name] = Locked(parsed, [hash_.strip() for hash_ in hashes])
    return locked
