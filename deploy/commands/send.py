"""`callbox send`: the provider of a source, simulated."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import click
import psycopg

from deploy.commands.errors import Failed
from deploy.commands.options import WholeNumber, configured_system_options, source_argument
from deploy.commands.sources import find_source
from deploy.local import simulator
from deploy.local.sender import Answer, Sender
from deploy.local.simulator import KINDS, Kind
from deploy.output import LONG_RUN, agrees, progress, write
from deploy.system import System

DEFAULT_URL = "http://127.0.0.1:8000"

# What to do about an answer of the ingress that a user's mistake explains.
_HINTS = {
    0: "no ingress answers there: start `callbox up`, name its folder with --data, or set CALLBOX_URL",
    401: "the secrets of the source differ from those of the running ingress: run `callbox reload`",
    404: "the running ingress does not know the source or its token: run `callbox reload`",
}


@click.command()
@source_argument
@click.option("--kind", type=click.Choice(KINDS), help="Inbound messages or delivery reports.  [default: both]")
@click.option("--count", default=1, show_default=True, type=WholeNumber(1), metavar="N", help="Callbacks to send.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="N", help="At most N callbacks a second.")
@click.option("--yes", is_flag=True, help="Send also to a source that has stored real events.")
@configured_system_options
def send(source_name: str, kind: Kind | None, count: int, rate: float | None, yes: bool, system: System) -> None:
    """Simulate the provider of SOURCE: sign and send realistic callbacks to the ingress.

    The ingress is that of the running `callbox up`, or CALLBOX_URL. Exits with 1 unless all were accepted. What is
    stored of them is marked (`test`), and goes by `callbox remove-tests`.
    """
    source = find_source(system.configuration(), source_name)
    if not yes and has_real_events(source_name, system):
        ask(source_name)
    kinds = [kind] if kind else list(KINDS)
    requests = simulator.requests(source, kinds, count, random.Random())  # noqa: S311 - a simulation
    url = _checked(system.environ.get("CALLBOX_URL", DEFAULT_URL))
    with (
        Sender(url) as sender,
        progress(f"sending to {source_name}", count) as advance,
    ):
        answers = sender.send_all(requests, rate, lambda _: advance())
    write(*summary(answers, url))
    refused = sum(answer.callback_id is None for answer in answers)
    if refused:
        raise Failed(f"{refused} of {count} callbacks were not accepted")


def _checked(url: str) -> str:
    """Raises UsageError for what is no address of an ingress."""
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.path.strip("/"):
            return url
    except ValueError:
        pass
    raise click.UsageError("CALLBOX_URL is not the address of an ingress, like http://127.0.0.1:8000")


def has_real_events(source_name: str, system: System) -> bool:
    """Whether the source has stored events that no test made; False also while PostgreSQL cannot be asked."""
    try:
        with system.queries() as queries:
            return queries.has_real_events(source_name)
    except psycopg.Error:
        return False


def ask(source_name: str) -> None:
    """Raises Failed unless the user agrees."""
    if not agrees(f"{source_name} has stored real events. Send tests to it, which are marked as such?"):
        raise Failed(f"nothing was sent: {source_name} has stored real events; agree, or give --yes")


def summary(answers: Sequence[Answer], url: str) -> Iterator[str]:
    """The ids of what was accepted, unless there are many; why other callbacks were not; and how long it took."""
    accepted = [answer for answer in answers if answer.callback_id]
    if len(answers) < LONG_RUN:
        yield from (f"accepted {answer.callback_id}" for answer in accepted)
    refused = Counter((answer.status, answer.error) for answer in answers if not answer.callback_id)
    yield from (_refusal(status, error, count, url) for (status, error), count in refused.items())
    if accepted:
        milliseconds = sorted(1000 * answer.seconds for answer in accepted)
        middle, late = milliseconds[len(milliseconds) // 2], milliseconds[len(milliseconds) * 99 // 100]
        yield (f"{len(accepted)} of {len(answers)} accepted, half within {middle:.1f} ms, 99 % within {late:.1f} ms")


def _refusal(status: int, error: str, count: int, url: str) -> str:
    hint = f": {_HINTS[status]}" if status in _HINTS else ""
    return f"not accepted: {count} × {f'HTTP {status}' if status else error} ({url}){hint}"
