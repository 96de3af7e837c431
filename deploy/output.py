"""The one place from which commands write to the terminal: no value can control it, or begin a line of its own."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from deploy.table import fitting_width
from shared.visible import visible

LONG_RUN = 50  # callbacks from which on a bar shows the progress
PIPE_COLUMNS = 1_000_000  # the width of what is no terminal: a table is not cut there


def write(*lines: str) -> None:
    """Lines on standard output, at once. A line break within a line is shown, not made."""
    click.echo(_joined(lines), nl=False)


def write_error(*lines: str) -> None:
    """Lines on standard error."""
    click.echo(_joined(lines), nl=False, err=True)


def agrees(question: str) -> bool:
    """Asks on standard error; False without an answer."""
    try:
        return click.confirm(visible(question), err=True)
    except click.Abort:
        write_error("")  # the line of the question ends
        return False


def answer_to(question: str) -> str | None:
    """What the user answers on the terminal; None without a terminal. Raises click.Abort without an answer."""
    if not sys.stdin.isatty():
        return None
    answer: str = click.prompt(visible(question), err=True)
    return answer


def write_table(table: Table) -> None:
    """A table of `deploy.table`: as wide as the terminal at most, and not cut when the output goes elsewhere."""
    console = Console(highlight=False)
    console.width = fitting_width(table, console.width) if console.is_terminal else PIPE_COLUMNS
    with console.capture() as rendered:
        console.print(table, crop=False)
    for line in rendered.get().splitlines():
        click.echo(line.rstrip())


def let_go_of_output() -> None:
    """Has nothing more written to standard output, not even what waits: else Python complains when it ends."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def progress(label: str, count: int, hidden: bool = False) -> Iterator[Callable[[], None]]:
    """A bar that shows how many callbacks of `count` are done: one more with each call of what it yields.

    It is not shown for a few callbacks, nor where standard error is no terminal.
    """
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    is_hidden = hidden or count < LONG_RUN or not console.is_terminal
    with Progress(*columns, console=console, disable=is_hidden) as bar:
        task = bar.add_task(visible(label), total=count)
        yield lambda: bar.advance(task)


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{visible(line)}\n" for line in lines)
