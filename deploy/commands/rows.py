"""How commands that list rows show them."""

from collections.abc import Sequence

import msgspec

from deploy.output import write, write_table
from deploy.table import table_of
from deploy.text import as_json


def write_rows(rows: Sequence[msgspec.Struct], columns: Sequence[str], json_wanted: bool, nothing: str) -> None:
    """Rows as JSON with all they have, or as a table of these columns; `nothing` is shown in place of an empty one."""
    if json_wanted:
        write(*as_json(rows))
    elif rows:
        write_table(table_of(rows, columns))
    else:
        write(nothing)
