"""Tables of values: one line for each row, whatever the values hold."""

from collections.abc import Sequence

import msgspec
from rich.box import Box
from rich.table import Table
from rich.text import Text

from deploy.text import one_line

NARROWEST_TEXT = 8  # columns of the terminal that a text keeps when there is no room for all of it
_GAP = 2  # between two columns
_NOTHING = "–"  # a value that is missing

# Nothing but a rule under the headings: rich reads the left edge, the line, the divider and the right edge.
_RULE = Box("    \n    \n ─  \n    \n    \n    \n    \n    \n")


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """The rows under their headings, numbers to the right.

    On a narrow terminal texts are cut, the longest first; ids, times and numbers never are.
    """
    made = Table(box=_RULE, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0), header_style="bold")
    for index, heading in enumerate(headings):
        _add_column(made, heading, [row[index] for row in rows])
    for row in rows:
        made.add_row(*map(_cell, row))
    return made


def table_of(rows: Sequence[msgspec.Struct], columns: Sequence[str]) -> Table:
    """These columns of typed rows."""
    headings = [column.replace("_", " ") for column in columns]
    return table(headings, [[getattr(row, column) for column in columns] for row in rows])


def fitting_width(made: Table, terminal: int) -> int:
    """The width for a terminal of this width; more where its lines have to be broken, since nothing more may be cut."""
    return max(terminal, sum((column.min_width or 0) + _GAP for column in made.columns))


def _add_column(made: Table, heading: str, values: Sequence[object]) -> None:
    widest = max(Text(heading).cell_len, *(_cell(value).cell_len for value in values), 1)
    gives_way = any(isinstance(value, str) for value in values)
    made.add_column(
        Text(heading, no_wrap=True, overflow="ellipsis"),
        justify="right" if all(isinstance(value, int | float | None) for value in values) else "left",
        min_width=min(widest, NARROWEST_TEXT) if gives_way else widest,
        no_wrap=not gives_way,
    )


def _cell(value: object) -> Text:
    """A cell of one line. A `Text` is taken as it is: no markup of rich, and no emoji by name."""
    return Text(_NOTHING if value is None else one_line(value), no_wrap=True, overflow="ellipsis")
