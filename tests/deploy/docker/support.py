"""Where the files of an operator are, how to read them, and what they may name."""

import tomllib
from dataclasses import fields
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

from celery.bin.celery import celery as celery_command
from flower.options import default_options
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from shared.settings import Settings, variable
from workers.__main__ import arguments

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "deploy" / "docker"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIGEST = r"(@sha256:[0-9a-f]{64})?"  # `make lock` adds it where Docker can be asked
PROMISED = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
VARIABLES = {variable(setting.name) for setting in fields(Settings)} | {"CALLBOX_CONFIG"}


def options_in(command: list[str]) -> list[str]:
    return [part.partition("=")[0] for part in command if part.startswith("-")]


def assert_runs(name: str, command: list[str]) -> None:
    """The command starts the role of this name, with options that its program has."""
    program, *rest = command
    if program == "callbox":
        (script,) = entry_points(group="console_scripts", name=program)
        assert rest == [name]
        assert name in script.load().commands
        return
    if name == "ingress":
        assert [program, *rest[:2]] == ["python", "-m", "ingress"]
        assert set(options_in(rest[2:])) == {"--host", "--port"}
        return
    assert [program, *rest[:3]] == ["python", "-m", "workers", name]
    options = {option for option in options_in(arguments(name, rest[3:])) if option not in ("--quiet", "--app")}
    if name == "flower":  # a plugin, whose options are Tornado's
        assert [entry.name for entry in entry_points(group="celery.commands")] == ["flower"]
        assert {option.lstrip("-").replace("-", "_") for option in options} <= set(default_options)
        return
    assert options <= {option for parameter in celery_command.commands[name].params for option in parameter.opts}


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
