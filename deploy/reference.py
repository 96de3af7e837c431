"""What `make docs` writes: docs/configuration.md, out of the settings and the keys of sources, and the example files of
a container's sources, out of the providers' examples."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from deploy import examples
from deploy.output import write
from shared.providers import PROVIDERS
from shared.settings import RULES, Settings, variable
from shared.source import KEYS, Option

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"
DOCKER = Path(__file__).parent / "docker"

_HEAD = """\
# Configuration

This page is generated from the sources by `make docs`.

Sources are tables of `callbox.toml`; addresses, limits and deadlines are environment variables. Both are checked before
anything listens: every mistake is reported, one sentence each, and the process exits with 2. `callbox check` shows
besides what is risky.
"""

_SOURCES = """\
## Keys of a source

The file is the one that `--config` of `callbox` names, else the one that `CALLBOX_CONFIG` names, else `./callbox.toml`.
Each table `[sources.NAME]` is a source, and its callbacks arrive at `/callbacks/NAME`. `NAME` has up to 64 letters,
digits, `-` and `_`, and begins with a letter or digit. In `secrets`, `token`, `allow_ips` and a provider's own texts
`${NAME}` is replaced by an environment variable, and `file:/PATH` by what that file holds, without the line break at
its end. A source needs `secrets`, `token` or `unsigned = true`.
"""

_VARIABLES = """\
## Environment variables

A variable that is not set, or empty, has its default. Numbers are above 0. Every process of one system gets the same
values. Besides, `PROMETHEUS_MULTIPROC_DIR` names a folder in which several ingresses of one host add up their metrics.
"""

_RULES = """\
## Rules between variables

The first is at least the given multiple of the second.
"""

_EXAMPLE = """\
# An example with one source of each provider (written by `make docs`). A source is an account at a provider, and its
# name is in its URL: [sources.fleet] gets its callbacks at /callbacks/fleet, with a token at /callbacks/fleet/TOKEN.
# ${NAME} is read from the environment, so that this file holds no secret. The README shows where each comes from, and
# docs/configuration.md has every key.
"""

_SECRETS = """\
# Copy to deploy/docker/secrets.env, readable by its owner only: what callbox.toml reads with ${NAME} in the ingress and
# the workers. A value with a dollar sign goes in single quotes.
"""

_KINDS = {str: "text", int: "whole number", float: "number", bool: "true or false", list: "list"}


def document() -> str:
    """The page."""
    return "\n".join((_HEAD, _SOURCES, _keys(KEYS), *_providers(), _VARIABLES, _variables(), _RULES, _rules()))


def files() -> dict[Path, str]:
    """Every file that is generated, with what is in it."""
    secrets = ("".join([f"\n# {name}\n", *(f"{each}=\n" for each in names)]) for name, names in examples.variables())
    return {
        PAGE: document(),
        DOCKER / "callbox.example.toml": f"{_EXAMPLE}\n{examples.sources()}",
        DOCKER / "secrets.env.example": "".join((_SECRETS, *secrets)),
    }


def _providers() -> Iterator[str]:
    for name, provider in PROVIDERS.items():
        if provider.OPTIONS:
            yield f"### Only of {name}\n"
            yield _keys(provider.OPTIONS)


def _keys(keys: Mapping[str, Option]) -> str:
    rows = (
        (f"`{name}`", _KINDS[key.type], key.unit, _default(key), key.meaning, key.since) for name, key in keys.items()
    )
    return _table(("key", "type", "unit or form", "default", "meaning", "since"), rows)


def _default(key: Option) -> str:
    if key.required:
        return "required" if key is KEYS["provider"] else "required with `secrets`"
    return "" if key.default in (None, []) else f"`{str(key.default).lower()}`"


def _variables() -> str:
    rows = (
        (
            f"`{variable(setting.name)}`",
            setting.metadata["unit"],
            _amount(setting),
            setting.metadata["meaning"],
            setting.metadata["since"],
        )
        for setting in fields(Settings)
    )
    return _table(("variable", "unit or form", "default", "meaning", "since"), rows)


def _amount(setting: Any) -> str:
    """The default, and a large number of bytes also in KiB or MiB."""
    if setting.default == "":
        return ""
    shown = f"`{setting.default:g}`" if setting.type is float else f"`{setting.default}`"
    if setting.metadata["unit"] != "bytes":
        return shown
    kibibytes = setting.default // 1024
    return f"{shown} ({f'{kibibytes // 1024} MiB' if kibibytes >= 1024 else f'{kibibytes} KiB'})"


def _rules() -> str:
    rows = (
        (f"`{variable(rule.larger)}`", f"{rule.times:g}", f"`{variable(rule.smaller)}`", rule.why) for rule in RULES
    )
    return _table(("variable", "times", "variable", "because"), rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
        write(f"wrote {path}")
