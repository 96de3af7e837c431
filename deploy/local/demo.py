"""`make run`: the whole system with an example configuration, and a few callbacks of every kind on their way."""

import random
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from deploy.local import simulator
from deploy.local.files import write_private
from deploy.local.overview import pages
from deploy.local.readiness import wait_until_empty
from deploy.local.sender import Sender
from deploy.output import write, write_table
from deploy.system import open_inbox
from deploy.table import table_of
from shared.callback import Request
from shared.config import Config
from shared.events import InboundMessage
from shared.source import Source
from workers.queries import Queries, RecentRow

ARRIVAL_SECONDS = 30.0  # for the samples to reach PostgreSQL
COLUMNS = ("source", "provider", "outcome", "kind", "sender", "recipient", "content", "traffic")

_EXAMPLE = """\
# Made by `make run`, with secrets of its own. `callbox --help` and the README show how to go on from here.

[sources.fleet]
provider = "emnify"
secrets = ["{}"]

[sources.otp]
provider = "nxcloud"
token = "{}"
timezone = "Asia/Shanghai"

[sources.support]
provider = "messente"
secrets = ["{}"]
"""
_TO_TRY: tuple[tuple[str, simulator.Kind], ...] = (("fleet", "mo"), ("otp", "dr"), ("support", "mo"))


def example_config(folder: Path) -> Path:
    """The configuration of the demonstration, made at its first start."""
    path = folder / "callbox.toml"
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, _EXAMPLE.format(*(secrets.token_hex(20) for _ in range(3))))
    return path


def present(configuration: Config, addresses: Mapping[str, str]) -> None:
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
        *_next_steps(configuration, addresses),
    )


def _stored_since(since: datetime, addresses: Mapping[str, str]) -> list[RecentRow]:
    """What arrived since then, once the inbox is empty."""
    with open_inbox(addresses["CALLBOX_REDIS_URL"]) as client:
        wait_until_empty(client, ARRIVAL_SECONDS)
    with Queries(addresses["CALLBOX_DATABASE_URL"]) as queries:
        return queries.recent(since, limit=50)


def _samples(configuration: Config) -> list[Request]:
    """Every kind of every source, an opt-out, a duplicate, and one that is authentic but unreadable."""
    dice = random.Random()  # noqa: S311 - a simulation
    now = datetime.now(UTC)
    fleet, otp, support = (configuration.sources[name] for name in ("fleet", "otp", "support"))
    receipts = [simulator.request(source, simulator.event("dr", now, dice)) for source in (fleet, otp, support)]
    messages = [
        simulator.request(fleet, _message(now, dice, "Battery at 14 %, door closed")),
        simulator.request(support, _message(now, dice, "STOP")),
    ]
    return [*messages, *receipts, receipts[1], _unreadable(otp)]


def _message(now: datetime, dice: random.Random, text: str) -> InboundMessage:
    message = simulator.event("mo", now, dice)
    assert isinstance(message, InboundMessage)  # noqa: S101 - for the type
    return msgspec.structs.replace(message, text=text)


def _unreadable(source: Source) -> Request:
    path = f"/callbacks/{source.name}/{source.token}"
    return Request(method="POST", path=path, headers={"content-type": "application/json"}, body=b'{"cut off in the')


def _next_steps(configuration: Config, addresses: Mapping[str, str]) -> Iterator[str]:
    url = addresses["CALLBOX_URL"]
    now, dice = datetime.now(UTC), random.Random()  # noqa: S311 - a simulation
    yield ""
    yield "Try it yourself (a line sent twice gives one event, and a callback with the outcome `duplicate`):"
    for name, kind in _TO_TRY:
        source = configuration.sources[name]
        yield ""
        yield f"# {source.provider}"
        yield simulator.curl(url, simulator.request(source, simulator.event(kind, now, dice)))
    yield ""
    yield "In a second terminal:  .venv/bin/callbox status | send fleet --count 1000 | show ID | dead-letters list"
    yield ""
    names = ", ".join(configuration.sources)
    yield f"callbacks  {url}/callbacks/SOURCE   (sources: {names}; from {configuration.path})"
    yield from pages(addresses)
    yield ""
    yield "Serving until Ctrl-C."
