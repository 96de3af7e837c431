"""What `make docs` writes: docs/configuration.md, out of the settings and the keys of sources; docs/metrics.md, out of
the catalogue; and the example files of a container's sources, out of the providers' examples."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from deploy import dashboards, examples
from deploy.output import write
from shared.catalogue import CATALOGUE, OPEN, SOURCES, Kind, Metric, Place
from shared.providers import PROVIDERS
from shared.settings import RULES, Settings, variable
from shared.source import KEYS, Option

DOCS = Path(__file__).parent.parent / "docs"
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
`${NAME}` is replaced by an environment variable, else by the line `NAME=value` of the file `.env` beside it, and
`file:PATH` by what that file holds, without the line break at its end; a relative path begins at the folder of
`callbox.toml`. A source needs `secrets`, `token` or
`unsigned = true`. A running process reads all these files again on SIGHUP ([rotation.md](rotation.md)).
"""

_VARIABLES = """\
## Environment variables

A variable that is not set, or empty, has its default. Numbers are above 0, unless their meaning has what 0 does. Every
process of one system gets the same values, but `CALLBOX_ADMIN_BIND` is of each process. Besides,
`PROMETHEUS_MULTIPROC_DIR` names a folder in which several ingresses of one host add up their metrics
([metrics.md](metrics.md)).
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

_METRICS = """\
# Metrics

This page is generated from the catalogue (`shared/catalogue.py`) by `make docs`.

Every process answers `GET /metrics` in Prometheus's text format, and `GET /healthz`, at the address that its
`CALLBOX_ADMIN_BIND` names; an ingress without one answers both beside the callbacks, and a worker or beat without one
not at all. `callbox up` gives each an address, and writes them into `DIR/env`: `CALLBOX_ADMIN_URL` (of all ingresses),
`CALLBOX_WORKER_ADMIN_URL` and `CALLBOX_BEAT_ADMIN_URL`.

- An ingress and a worker count what they themselves do: add them up over all instances. Ingresses of one host that
  have a `PROMETHEUS_MULTIPROC_DIR` in common show the same figures, the sum of all of them: scrape only one of them.
- What is in Redis and in PostgreSQL comes from beat only. Run one beat; if two run for a moment, they show the same.
  While Redis is away, what is in it is absent, and `callbox_redis_up` is 0.
- A series of a configured source is there from the start, with 0, wherever the words of its labels are known. `source`
  has the name of a configured source, and is empty where none is known.
- A label has the words below, or a name or a number of the configuration: never what a caller wrote.

The last column asks for the value over all instances: of a counter its rise in each second, and of a histogram what
99 % stay below.
"""

_BUCKETS = """\
## Buckets
"""

_KINDS = {str: "text", int: "whole number", float: "number", bool: "true or false", list: "list"}


def document() -> str:
    """The page."""
    return "\n".join((_HEAD, _SOURCES, _keys(KEYS), *_providers(), _VARIABLES, _variables(), _RULES, _rules()))


def files() -> dict[Path, str]:
    """Every file that is generated, with what is in it."""
    secrets = ("".join([f"\n# {name}\n", *(f"{each}=\n" for each in names)]) for name, names in examples.variables())
    return {
        DOCS / "configuration.md": document(),
        DOCS / "metrics.md": metrics(),
        **dashboards.files(),
        DOCKER / "callbox.example.toml": f"{_EXAMPLE}\n{examples.sources()}",
        DOCKER / "secrets.env.example": "".join((_SECRETS, *secrets)),
    }


def metrics() -> str:
    """The page of the metrics."""
    return "\n".join((_METRICS, *(part for place in Place for part in _metrics_of(place)), _BUCKETS, _buckets()))


def _metrics_of(place: Place) -> Iterator[str]:
    yield f"## From {place}\n"
    rows = (
        (f"`{each.name}`", each.kind, each.unit, _labels(each), each.meaning, f"`{each.query}`")
        for each in CATALOGUE
        if each.place is place
    )
    yield _table(("metric", "kind", "unit", "labels", "meaning", "over all instances"), rows)


def _labels(metric: Metric) -> str:
    return "; ".join(
        f"`{label}`"
        if words in (OPEN, SOURCES)
        else f"`{label}`: {', '.join(f'`{word}`' if word else 'empty' for word in words)}"
        for label, words in metric.labels.items()
    )


def _buckets() -> str:
    rows = (
        (f"`{each.name}`", ", ".join(f"{end:g}" for end in each.buckets), each.unit)
        for each in CATALOGUE
        if each.kind is Kind.HISTOGRAM
    )
    return _table(("metric", "buckets end at", "unit"), rows)


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
