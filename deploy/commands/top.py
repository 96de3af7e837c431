"""`callbox top`: one live page."""

import sys
from contextlib import suppress

import click
from rich.console import RenderableType

from deploy.commands.options import system_options
from deploy.system import System
from deploy.top.page import page
from deploy.top.readings import reading
from deploy.top.screen import show_live, show_once
from deploy.top.state import State


@click.command()
@click.option("--seconds", default=1.0, show_default=True, type=click.FloatRange(0.1, 3600), help="From page to page.")
@click.option(
    "--ingress",
    "ingress_urls",
    multiple=True,
    metavar="URL",
    help="Where an ingress shows its metrics; may be repeated.  [default: that of the running `up`]",
)
@system_options
def top(seconds: float, ingress_urls: tuple[str, ...], system: System) -> None:
    """Show live what each source gets, and how inbox, spool, workers, PostgreSQL and Redis are; q ends.

    Rates and p99 (from the end of a body to its acknowledgement) are those of the last 10 seconds. Where the output is
    no terminal, it shows one page.
    """
    urls = ingress_urls or tuple(filter(None, [system.environ.get("CALLBOX_ADMIN_URL")]))
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise click.BadParameter(f"{url} is no URL: give http://HOST:PORT", param_hint="--ingress")
    state = State()
    with suppress(KeyboardInterrupt), reading(system, urls) as read:

        def make_page(height: int | None) -> RenderableType:
            return page(state.after(read()), height)

        (show_live if sys.stdout.isatty() else show_once)(make_page, seconds)
