"""Tables: what is cut on which terminal, and that no value leaves its cell."""

import io
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from deploy.output import write_table
from deploy.table import NARROWEST_TEXT, fitting_width, table, table_of
from shared.visible import UNSAFE

ID = UUID(int=7)
AT = datetime(2026, 1, 2, 3, 4, 5, 678900, UTC)
ANY = st.text(st.characters(exclude_categories=()))


def lines(made: Table, columns: int = 10_000) -> list[str]:
    """What a terminal of this width shows."""
    output = io.StringIO()
    Console(file=output, width=fitting_width(made, columns), highlight=False).print(made, crop=False)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def test_columns_are_under_their_headings_and_numbers_to_the_right() -> None:
    assert lines(table(("name", "n"), [("a", 1), (None, 20)])) == ["name   n", "───── ──", "a      1", "–     20"]


def test_a_table_without_rows_has_its_headings() -> None:
    assert lines(table(("name", "n"), []))[0] == "name  n"


@pytest.mark.parametrize(
    ("cell", "columns"), [("abc", 3), ("你好", 4), ("👍", 2), ("e\u0301", 1), ("\u202e", 6), ("\x1b", 4)]
)
def test_a_cell_takes_the_columns_that_a_terminal_gives_it(cell: str, columns: int) -> None:
    _, _, line = lines(table(("12345678", "next"), [(cell, "x")]))
    assert len(line.removesuffix("x")) - len(lines(table(("h",), [(cell,)]))[2]) == 10 - columns


def test_on_a_narrow_terminal_the_longest_text_gives_way_and_no_id_no_time_and_no_number() -> None:
    made = table(("id", "at", "source", "reason", "count"), [(ID, AT, "fleet", "x" * 80, 1234567)])
    *_, wide = lines(made, 200)
    *_, narrow = lines(made, 110)
    assert "x" * 80 in wide
    assert len(narrow) <= 110
    for kept in (str(ID), "2026-01-02 03:04:05+00:00", "fleet", "1234567", "x" * NARROWEST_TEXT):
        assert kept in narrow
    assert "x…" in narrow
    *_, tiny = lines(made, 20)
    assert str(ID) in tiny
    assert "1234567" in tiny


def test_what_is_piped_is_not_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    write_table(table(("reason", "n"), [("x" * 5000, 1)]))
    assert capsys.readouterr().out.splitlines()[2] == "x" * 5000 + "  1"


def test_markup_and_names_of_emoji_in_a_value_are_shown_as_they_are() -> None:
    values = ("[red]", "[/]", ":smile:", "[link=https://example.com]a[/link]")
    assert lines(table(("text",), [(value,) for value in values]))[2:] == list(values)
    assert lines(table(("[red]",), []))[0] == "[red]"


def test_headings_of_typed_rows_are_the_names_of_their_fields() -> None:
    class Row(msgspec.Struct):
        message_id: str
        hidden: str

    made = table_of([Row("7", "secret")], ("message_id",))
    assert lines(made) == ["message id", "──────────", "7"]


@given(ANY, st.integers(1, 200))
def test_no_cell_is_more_than_one_line_or_unsafe(text: str, columns: int) -> None:
    shown = lines(table(("a", "b"), [(text, {"key": [text]})]), columns)
    assert len(shown) == 3
    assert not UNSAFE.search("".join(shown))


@given(st.lists(st.text(min_size=20), min_size=1, max_size=3), st.integers(40, 200))
def test_a_table_of_texts_fits_its_terminal(texts: list[str], columns: int) -> None:
    assert (
        max(map(cell_len, lines(table([str(number) for number, _ in enumerate(texts)], [texts]), columns))) <= columns
    )
