"""`callbox spool`: the spool files of a host, and their adoption when its ingresses will not come back."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from deploy.commands.errors import Failed
from deploy.commands.options import json_option, system_options
from deploy.output import write, write_table
from deploy.system import System
from deploy.table import table
from deploy.text import as_json
from ingress import spool_files
from ingress.adoption import Adoption
from ingress.spool import SpoolError
from shared.inbox import RedisUnavailable
from shared.settings import Settings

HEADINGS = ("file", "ingress", "callbacks", "bytes", "oldest seconds")


class Row(msgspec.Struct, frozen=True):
    """A spool file; null is what cannot be known of it, and `wrong` has the reason."""

    file: str
    in_use: bool | None = None
    callbacks: Mapping[str, int] | None = None
    bytes: int | None = None
    oldest_seconds: float | None = None
    wrong: str | None = None


@click.group()
def spool() -> None:
    """What waits on the disk of an ingress while Redis is away.

    An ingress moves its own callbacks, and those of ingresses of its folder that are gone, as soon as Redis is back.
    """


@spool.command("list")
@click.argument("folder_path", metavar="[FOLDER]", required=False, type=click.Path(path_type=Path, exists=True))
@json_option
@system_options
def list_files(folder_path: Path | None, json_wanted: bool, system: System) -> None:
    """List the spool files of a folder, without a change to them.

    FOLDER is CALLBOX_SPOOL_DIR without one, or that of a running `callbox up`.
    """
    found = folder_path or Path(system.settings.spool_dir)
    now = datetime.now(UTC)
    rows = [_row(path, now) for path in _files(found)]
    if json_wanted:
        write(*as_json(rows))
    elif rows:
        write_table(table(HEADINGS, [_cells(row) for row in rows]))
    else:
        write(f"no spool files in {found}")
    if wrong := [row.file for row in rows if row.wrong]:
        raise Failed(f"{found}: {', '.join(wrong)} cannot be read; look at the file and at its rights")


@spool.command()
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path, exists=True))
@json_option
@system_options
def adopt(path: Path, json_wanted: bool, system: System) -> None:
    """Move the callbacks of a spool file, or of all in a folder, to the inbox.

    For files of a host that will not come back: a mounted volume, a copy. A file whose ingress runs is refused. An
    interrupted adoption loses nothing, and is finished by another one.
    """
    settings = system.settings
    moved: Counter[str] = Counter()
    failures = []
    try:
        for file in _files(path):
            try:
                _adopt(file, settings, moved)
            except SpoolError as error:
                failures.append(f"{file}: {error}")
            except RedisUnavailable as error:
                if not failures:
                    raise
                failures.append(str(error))
                break
    except KeyboardInterrupt:
        raise Failed(f"interrupted: what is not moved is still in {path}; adopt it again") from None
    finally:
        _show(moved, json_wanted)
    if failures:
        raise Failed("; ".join(failures))


def _adopt(file: Path, settings: Settings, moved: Counter[str]) -> None:
    """Adds to `moved` what is in the inbox, also when it fails. Raises SpoolError, RedisUnavailable."""
    adoption = Adoption(file, settings)
    try:
        asyncio.run(adoption.move())
    finally:
        moved.update(adoption.moved)


def _files(path: Path) -> list[Path]:
    """The spool files in a folder, or the one that this is. Raises Failed."""
    try:
        return spool_files.find(path) if path.is_dir() or not path.exists() else [path]
    except SpoolError as error:
        raise Failed(f"{path}: {error}") from None


def _row(path: Path, now: datetime) -> Row:
    try:
        content = spool_files.read(path)
    except SpoolError as error:
        return Row(path.name, wrong=str(error))
    oldest_seconds = None if content.oldest is None else round((now - content.oldest).total_seconds(), 3)
    return Row(path.name, content.is_in_use, content.counts, content.size_bytes, oldest_seconds)


def _cells(row: Row) -> list[object]:
    if row.wrong:
        return [row.file, None, row.wrong, None, None]
    return [row.file, "runs" if row.in_use else "gone", _by_source(row.callbacks), row.bytes, row.oldest_seconds]


def _show(moved: Mapping[str, int], json_wanted: bool) -> None:
    if json_wanted:
        write(*as_json({"moved": dict(sorted(moved.items()))}))
    elif moved:
        write_table(table(("moved", "source"), [(count, source) for source, count in sorted(moved.items())]))
    else:
        write("no callbacks were moved")


def _by_source(counts: Mapping[str, int] | None) -> str:
    pairs: Iterable[tuple[str, int]] = sorted((counts or {}).items())
    return ", ".join(f"{source} {count}" for source, count in pairs) or "none"
