"""The terminal of `callbox top`: the page again and again, until q or Ctrl-C."""

import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.live import Live

END = "q"

MakePage = Callable[[int | None], RenderableType]  # what a page of that many lines shows now


def show_live(make_page: MakePage, seconds: float) -> None:
    """Shows a page after each pause of `seconds`, until q or Ctrl-C. Leaves the terminal as it was."""
    console = Console(highlight=False)
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(make_page(console.height), refresh=True)
            if pressed(seconds) == END:
                return


def show_once(make_page: MakePage, seconds: float) -> None:
    """Shows one page where no terminal is, after as much time as its rates need."""
    make_page(None)
    time.sleep(seconds)
    Console(highlight=False, width=max(100, Console().width)).print(make_page(None))


@contextmanager
def _keys() -> Iterator[Callable[[float], str | None]]:
    """What waits for a key, for the given seconds at most; None without one."""
    if not sys.stdin.isatty():
        yield time.sleep  # there are no keys
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def pressed(seconds: float) -> str | None:
        ready, _, _ = select.select([descriptor], [], [], seconds)
        return sys.stdin.read(1) if ready else None

    tty.setcbreak(descriptor)
    try:
        yield pressed
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
