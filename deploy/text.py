"""How values become lines of text: one value, one callback for people, JSON for programs."""

import json
from datetime import datetime
from typing import Any

import msgspec

from deploy.privacy import HIDDEN, shown
from shared.visible import UNSAFE, visible
from workers.queries import CallbackView

_EMPTY: tuple[object, ...] = (None, {}, "")


def as_json_line(value: Any) -> str:
    """The same on one line."""
    return _json(value)


def as_json(value: Any) -> list[str]:
    r"""JSON for programs: times in ISO 8601, bytes in base64, decimals as text, unsafe characters as \uXXXX."""
    return _json(value, indent=2).split("\n")


def as_text(found: CallbackView, reveal: bool) -> list[str]:
    """A callback for people: its request, then what became of it.

    Each line of the body begins with a bar, so that none of them looks like one of the others.
    """
    callback = found.callback
    request, *rows = shown([callback, *found.messages, *found.reports, *found.dead_letters], reveal)
    query = f"?{one_line(request['query'])}" if request["query"] else ""
    body = (request["body"] or b"").decode("utf-8", "backslashreplace")
    conflict = "  (conflicts with an event stored before)" if callback.conflict else ""
    origin = f"source {callback.source} ({callback.provider})  from {callback.remote_ip}"
    lines = [
        f"{callback.id}  {callback.outcome}{conflict}",
        f"{callback.received_at.isoformat()}  {origin}  inbox entry {callback.inbox_id}",
        "",
        f"{callback.method} /callbacks/{callback.source}{query}",
        *(f"{name}: {one_line(value)}" for name, value in callback.headers.items()),
        "",
        *(f"  | {line}" for line in body.split("\n") if body),
    ]
    titles = (
        *["inbound message"] * len(found.messages),
        *["delivery report"] * len(found.reports),
        *["dead letter"] * len(found.dead_letters),
    )
    for title, values in zip(titles, rows, strict=True):
        lines += ["", title]
        lines += [f"  {name:16}{one_line(value)}" for name, value in values.items() if value not in _EMPTY]
    return lines if reveal else [*lines, "", HIDDEN]


def one_line(value: object) -> str:
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


def first_line(error: Exception) -> str:
    """The first line of an error. Of libpq's the rest only asks whether the server is running."""
    return str(error).strip().partition("\n")[0].rstrip(":")
