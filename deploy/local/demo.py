"""`make run`: the whole system with an example configuration, and a few callbacks of every kind on their way."""

import itertools
import random
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from deploy import examples
from deploy.local import simulator
from deploy.local.files import write_private
from deploy.local.overview import overview
from deploy.local.readiness import wait_until_empty
from deploy.local.sender import Sender
from deploy.output import write, write_table
from deploy.system import System
from deploy.table import table_of
from shared.callback import Request
from shared.config import Config
from shared.events import InboundMessage
from shared.providers import sign
from workers.queries import Queries, RecentRow

ARRIVAL_SECONDS = 30.0  # for the samples to reach PostgreSQL
COLUMNS = ("source", "provider", "outcome", "kind", "sender", "recipient", "content", "traffic")

_HEAD = "# Made by `make run`, with secrets of its own. `callbox --help` and the README show how to go on from here.\n"
_MESSAGES = ("Battery at 14 %, door closed", "STOP")


def example_config(folder: Path) -> Path:
    """The configuration of the demonstration, made at its first start."""
    path = folder / "callbox.toml"
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, _HEAD + "\n" + examples.sources_with(lambda: secrets.token_hex(20)))
    return path


def present(configuration: Config, folder: Path, addresses: Mapping[str, str]) -> None:
    """Sends a few callbacks of every kind through the real port, shows what arrived, and how to go on."""
    url = addresses["CALLBOX_URL"]
    write("", f"callbox runs at {url}. Sending a few callbacks, signed as their providers sign:", "")
    since = datetime.now(UTC) - timedelta(seconds=1)
    with Sender(url) as sender:
        answers = [sender.send(request) for request in _samples(configuration)]
    write_table(table_of(_stored_since(since, addresses), COLUMNS))
    accepted = sum(answer.callback_id is not None for answer in answers)
    write(
        "",
        f"{accepted} of {len(answers)} were accepted, each with its X-Callbox-Id; the table is read from PostgreSQL.",
        *next_steps(configuration, folder, addresses),
    )


def _stored_since(since: datetime, addresses: Mapping[str, str]) -> list[RecentRow]:
    """What arrived since then, once the inbox is empty."""
    with System(addresses).inbox() as found:
        wait_until_empty(found, ARRIVAL_SECONDS)
    with Queries(addresses["CALLBOX_DATABASE_URL"]) as queries:
        return queries.recent(since, limit=50)


def _samples(configuration: Config) -> list[Request]:
    """A message and a receipt of every source, an opt-out among them, a duplicate, and one that is authentic and cannot
    be read."""
    dice = random.Random()  # noqa: S311 - a simulation
    now = datetime.now(UTC)
    sources = list(configuration.sources.values())
    messages = [
        simulator.request(source, _message(now, dice, text))
        for source, text in zip(sources, itertools.cycle(_MESSAGES), strict=False)
    ]
    receipts = [simulator.request(source, simulator.event("dr", now, dice)) for source in sources]
    unreadable = sign(msgspec.structs.replace(messages[0], body=b'{"cut off in the'), sources[0])
    return [*messages, *receipts, receipts[0], unreadable]


def _message(now: datetime, dice: random.Random, text: str) -> InboundMessage:
    message = simulator.event("mo", now, dice)
    assert isinstance(message, InboundMessage)  # noqa: S101 - for the type
    return msgspec.structs.replace(message, text=text, encoding=None)


def next_steps(configuration: Config, folder: Path, addresses: Mapping[str, str]) -> Iterator[str]:
    """How to go on, in lines for people."""
    url = addresses["CALLBOX_URL"]
    now, dice = datetime.now(UTC), random.Random()  # noqa: S311 - a simulation
    yield ""
    yield "Try it yourself (a line sent twice gives one event, and a callback with the outcome `duplicate`):"
    for source, kind in zip(configuration.sources.values(), itertools.cycle(simulator.KINDS), strict=False):
        yield ""
        yield f"# {source.provider}"
        yield simulator.curl(url, simulator.request(source, simulator.event(kind, now, dice)))
    yield ""
    first = next(iter(configuration.sources))
    yield "In a second terminal:"
    for words, what in (
        ("tail", "events as they are stored"),
        ("top", "one live page: rates, the inbox, workers and servers"),
        (f"send {first} --count 1000", "callbacks to look at there"),
        ("status", "what was accepted, and what became of it"),
        ("show ID", "one callback; ID is its X-Callbox-Id"),
        ("dead-letters list", "what was not understood"),
    ):
        yield f"  .venv/bin/callbox {words:28}  {what}"
    yield f"The sources are in {configuration.path}, and all that is stored is apart from that of `callbox up`."
    yield ""
    yield from overview(configuration, folder, addresses)
    yield ""
    yield "Serving until Ctrl-C."
