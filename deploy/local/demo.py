"""`make run`: the whole system with an example configuration, and a few callbacks of every kind on their way."""

import random
import secrets
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from deploy.local import simulator
from deploy.local.servers import write_private
from deploy.output import say
from deploy.text import table
from shared import inbox
from shared.callback import Request
from shared.config import Config
from shared.events import InboundMessage
from shared.source import Source
from workers.queries import Queries

ARRIVAL_SECONDS = 30.0  # for the samples to reach PostgreSQL

_EXAMPLE = """\
# Made by `make run`, with secrets of its own. `callbox --help` and the README say how to go on from here.

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


def example_config(folder: Path) -> Path:
    """The configuration of the demonstration, made at its first start."""
    path = folder / "callbox.toml"
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, _EXAMPLE.format(*(secrets.token_hex(20) for _ in range(3))))
    return path


def show(config: Config, addresses: dict[str, str]) -> None:
    """Sends a few callbacks of every kind through the real port, shows what arrived, and says how to go on."""
    url = addresses["CALLBOX_URL"]
    say("", f"callbox runs at {url}. Sending a few callbacks, signed as their providers sign:", "")
    since = datetime.now(UTC) - timedelta(seconds=1)
    with simulator.Sender(url) as sender:
        answers = [sender.send(request) for request in _samples(config)]
    _wait_for_drain(addresses["CALLBOX_REDIS_URL"])
    with Queries(addresses["CALLBOX_DATABASE_URL"]) as queries:
        rows = queries.recent(since, limit=50)
    columns = ("source", "provider", "outcome", "kind", "sender", "recipient", "content", "traffic")
    say(*table(columns, [[getattr(row, column) for column in columns] for row in rows]))
    accepted = sum(answer.callback_id is not None for answer in answers)
    say(
        "",
        f"{accepted} of {len(answers)} were accepted, each with its X-Callbox-Id; the table is read from PostgreSQL.",
    )
    _say_addresses(config, addresses)


def _samples(config: Config) -> list[Request]:
    """Every kind of every provider, an opt-out, a duplicate, and one that is authentic but unreadable."""
    dice = random.Random()  # noqa: S311 - it is play
    now = datetime.now(UTC)
    fleet, otp, support = (config.sources[name] for name in ("fleet", "otp", "support"))
    opt_out = msgspec.structs.replace(_message(now, dice), text="STOP")
    samples = [
        simulator.request(fleet, msgspec.structs.replace(_message(now, dice), text="Battery at 14 %, door closed")),
        simulator.request(fleet, simulator.event("dr", now, dice)),
        simulator.request(otp, simulator.event("dr", now, dice)),
        simulator.request(support, opt_out),
        simulator.request(support, simulator.event("dr", now, dice)),
    ]
    broken = _unreadable(otp)
    return [*samples, samples[2], broken]


def _message(now: datetime, dice: random.Random) -> InboundMessage:
    message = simulator.event("mo", now, dice)
    assert isinstance(message, InboundMessage)  # noqa: S101 - for the type
    return message


def _unreadable(source: Source) -> Request:
    path = f"/callbacks/{source.name}/{source.token}"
    return Request(method="POST", path=path, headers={"content-type": "application/json"}, body=b'{"cut off in the')


def _wait_for_drain(redis_url: str) -> None:
    ends = time.monotonic() + ARRIVAL_SECONDS
    with inbox.connect(redis_url, 5.0) as client:
        while inbox.take_snapshot(client).depth.entries and time.monotonic() < ends:
            time.sleep(0.05)


def _say_addresses(config: Config, addresses: dict[str, str]) -> None:
    url = addresses["CALLBOX_URL"]
    now, dice = datetime.now(UTC), random.Random()  # noqa: S311 - it is play
    say("", "Try it yourself (a line sent twice gives one event, and a callback with the outcome `duplicate`):")
    for name, kind in (("fleet", "mo"), ("otp", "dr"), ("support", "mo")):
        source = config.sources[name]
        happened = simulator.event("mo" if kind == "mo" else "dr", now, dice)
        say("", f"# {source.provider}", simulator.curl(url, simulator.request(source, happened)))
    say(
        "",
        "In a second terminal:  .venv/bin/callbox status | send fleet --count 1000 | show ID | dead-letters list",
        "",
    )
    say(f"callbacks  {url}/callbacks/SOURCE   (sources: {', '.join(config.sources)}; from {config.path})")
    if "FLOWER_URL" in addresses:
        say(f"Flower     {addresses['FLOWER_URL']}/tasks   (every drain with its counts)")
    say(f"metrics    {addresses['CALLBOX_ADMIN_URL']}/metrics")
    say("", "Serving until Ctrl-C.")
