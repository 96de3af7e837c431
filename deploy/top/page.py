"""The page of `callbox top`: a line for each part, and one for each source."""

from datetime import timedelta

from rich.console import Group, RenderableType
from rich.text import Text

from deploy.table import table
from deploy.top.state import SourceLine, View
from shared.visible import visible

HEADINGS = ("source", "/s", "p99 ms", "refused/s", "dead", "held", "silent for")
_BESIDE_SOURCES = 5  # lines: title, blank, headings, rule, and what is left out
_NAME_COLUMNS = 10


def page(view: View, height: int | None) -> RenderableType:
    """All of it in `height` lines, the sources that get most; without a height all sources."""
    lines = [Text(f"callbox top  {view.now:%Y-%m-%d %H:%M:%S} UTC  (q ends)", style="bold")]
    lines += [
        Text(f"{part.name:{_NAME_COLUMNS}}  {visible(part.sentence)}", style="" if part.is_well else "bold red")
        for part in view.parts
    ]
    room = len(view.sources) if height is None else max(1, height - len(lines) - _BESIDE_SOURCES + 1)
    sources = view.sources[:room]
    if not sources:
        return Group(*map(_on_one_line, lines), Text(""), Text("no source has had a callback yet"))
    left_out = len(view.sources) - len(sources)
    more = [Text(f"and {left_out} more")] if left_out else []
    return Group(*map(_on_one_line, lines), Text(""), table(HEADINGS, [_row(line) for line in sources]), *more)


def _on_one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _row(line: SourceLine) -> tuple[object, ...]:
    return (
        line.source,
        _rounded(line.per_second),
        None if line.p99_seconds is None else _rounded(1000 * line.p99_seconds),
        _rounded(line.refused_per_second),
        line.dead_letters,
        "held" if line.is_held else "",
        None if line.silent is None else _duration(line.silent),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _duration(time: timedelta) -> str:
    """In the largest unit of which there are two: 90 s, 5 min, 30 h, 3 d."""
    seconds = time.total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"
