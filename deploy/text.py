"""How commands say things, as lines for `say`: tables, one callback for people, JSON for programs."""

import json
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from shared.visible import UNSAFE, visible
from workers.queries import CallbackView

_LONGEST = 40
_EMPTY: tuple[object, ...] = (None, {}, "")
_JOINERS = "\u200c\u200d"


def table(
    headings: Sequence[str], rows: Sequence[Sequence[object]], numbers: frozenset[int] = frozenset()
) -> list[str]:
    """The rows under their headings, columns as wide as what stands in them, wide characters counted as two.

    Columns in `numbers` stand to the right; None shows as a dash.
    """
    lines = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(headings, *lines, strict=True)]
    rule = "  ".join("─" * width for width in widths)
    return [_line(headings, widths, numbers), rule, *(_line(line, widths, numbers) for line in lines)]


def as_json(value: Any) -> list[str]:
    r"""JSON for programs: times in ISO 8601, bytes in base64, decimals as text, unsafe characters as \uXXXX."""
    return _json(value, indent=2).split("\n")


def as_text(found: CallbackView) -> list[str]:
    """A callback for people: its request, then what became of it.

    Each line of the body begins with a bar, so that none of them looks like one of the others.
    """
    callback = found.callback
    query = f"?{_one_line(callback.query)}" if callback.query else ""
    body = callback.body.decode("utf-8", "backslashreplace")
    conflict = "  (conflicts with an event stored before)" if callback.conflict else ""
    lines = [
        f"{callback.id}  {callback.outcome}{conflict}",
        f"{callback.received_at.isoformat()}  source {callback.source} ({callback.provider})"
        f"  from {callback.remote_ip}  inbox entry {callback.inbox_id}",
        "",
        f"{callback.method} /callbacks/{callback.source}{query}",
        *(f"{name}: {_one_line(value)}" for name, value in callback.headers.items()),
        "",
        *(f"  | {line}" for line in body.split("\n") if body),
    ]
    for title, rows in (
        ("inbound message", found.messages),
        ("delivery report", found.reports),
        ("dead letter", found.dead_letters),
    ):
        for row in rows:
            values = msgspec.structs.asdict(row).items()
            lines += ["", title, *(f"  {name:16}{_one_line(value)}" for name, value in values if value not in _EMPTY)]
    return lines


def _one_line(value: object) -> str:
    """A value as it is shown: times to the second. Backslashes of a text are doubled, so that none of them looks like
    one that spells an unsafe character."""
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    if isinstance(value, dict | list):
        return _json(value)
    return visible(str(value).replace("\\", "\\\\"))


def _json(value: Any, indent: int | None = None) -> str:
    text = json.dumps(msgspec.to_builtins(value, enc_hook=str, str_keys=True), ensure_ascii=False, indent=indent)
    # The only line breaks are those between values; `json` escapes those within.
    return "\n".join(UNSAFE.sub(lambda found: json.dumps(found[0])[1:-1], line) for line in text.split("\n"))


def _cell(value: object) -> str:
    text = "–" if value is None else _one_line(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _line(cells: Sequence[str], widths: Sequence[int], numbers: frozenset[int]) -> str:
    padded = []
    for index, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        space = " " * (width - _width(cell))
        padded.append(space + cell if index in numbers else cell + space)
    return "  ".join(padded).rstrip()


def _width(text: str) -> int:
    return sum(map(_columns, text))


def _columns(char: str) -> int:
    if char in _JOINERS or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
