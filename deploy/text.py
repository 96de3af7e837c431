"""How commands say things: tables, one callback for people, JSON for programs."""

import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from deploy.look import Found

_LONGEST = 40


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], numbers: frozenset[int] = frozenset()) -> str:
    """The rows under their headings, columns as wide as what stands in them, wide characters counted as two.

    Columns in `numbers` stand to the right; None shows as a dash.
    """
    lines = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(headings, *lines, strict=True)]
    rule = "  ".join("─" * width for width in widths)
    body = (_line(line, widths, numbers) for line in lines)
    return "\n".join([_line(headings, widths, numbers), rule, *body])


def as_json(value: Any) -> str:
    """JSON for programs: times in ISO 8601, bytes in base64, decimals as text."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode()


def as_text(found: Found) -> str:
    """A callback for people: its request, then what became of it."""
    callback = found.callback
    query = f"?{callback['query']}" if callback["query"] else ""
    lines = [
        f"{callback['id']}  {callback['outcome']}"
        + ("  (conflicts with an event stored before)" * callback["conflict"]),
        f"{callback['received_at'].isoformat()}  source {callback['source']} ({callback['provider']})"
        f"  from {callback['remote_ip']}  inbox entry {callback['inbox_id']}",
        "",
        f"{callback['method']} /callbacks/{callback['source']}{query}",
        *(f"{name}: {value}" for name, value in callback["headers"].items()),
        "",
        callback["body"].decode("utf-8", "backslashreplace"),
    ]
    for title, rows in (
        ("inbound message", found.messages),
        ("delivery report", found.reports),
        ("dead letter", found.letters),
    ):
        for row in rows:
            said = [f"  {name:16}{short(value)}" for name, value in row.items() if value not in (None, {}, "")]
            lines += ["", title, *said]
    return "\n".join(lines)


def short(value: Any) -> Any:
    """A value for a table or a list: times to the second."""
    return value.isoformat(" ", "seconds") if isinstance(value, datetime) else value


def _cell(value: object) -> str:
    text = "–" if value is None else str(value)
    shown = "".join(char if char.isprintable() else "␣" for char in text)
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"


def _line(cells: Sequence[str], widths: Sequence[int], numbers: frozenset[int]) -> str:
    padded = []
    for index, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        space = " " * (width - _width(cell))
        padded.append(space + cell if index in numbers else cell + space)
    return "  ".join(padded).rstrip()


def _width(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) != 0 for char in text)
