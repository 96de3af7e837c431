"""The one place from which commands write to the terminal: no value can control it, or begin a line of its own."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import click

from shared.visible import visible


def say(*lines: str) -> None:
    """Lines on standard output, at once. A line break within a line is shown, not made."""
    click.echo(_joined(lines), nl=False)


def complain(*lines: str) -> None:
    """Lines on standard error."""
    click.echo(_joined(lines), nl=False, err=True)


@contextmanager
def progress(label: str, count: int, hidden: bool) -> Iterator[Callable[[], None]]:
    """A bar that shows how many of `count` are done: one more with each call of what it yields."""
    with click.progressbar(length=count, label=visible(label), hidden=hidden) as bar:
        yield lambda: bar.update(1)


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{visible(line)}\n" for line in lines)
