"""The `callbox` command. Each command says what it did, or in one line what went wrong and what to do."""

import os
import random
from collections import Counter
from datetime import datetime
from pathlib import Path
from uuid import UUID

import click

from deploy import checks
from deploy.commands.dead_letters import dead_letters
from deploy.commands.options import (
    CONFIG,
    DATA,
    JSON,
    LIMIT,
    LONG_RUN,
    PORT,
    SINCE,
    Commands,
    Failed,
    environment,
    load,
    say_rows,
    speaks_plainly,
    utc,
)
from deploy.local import demo, simulator
from deploy.local.up import Plan, Up
from deploy.output import progress, say
from deploy.text import as_json, as_text, table
from shared import config, inbox
from shared.config import Config
from workers import schema
from workers.drain.holds import this_release
from workers.queries import Queries


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="callbox", message="callbox %(version)s")
def main() -> None:
    """Takes the callbacks of SMS providers, answers them at once, and never loses one."""


@main.command()
@CONFIG
@DATA
@PORT
@click.option("--ingress", "ingresses", default=1, show_default=True, metavar="N", type=click.IntRange(0, 64))
@click.option("--workers", default=2, show_default=True, metavar="N", type=click.IntRange(0, 64))
@click.option("--flower/--no-flower", default=True, show_default=True, help="The page that shows the drains.")
@speaks_plainly
def up(config_path: Path | None, folder: Path, port: int, ingresses: int, workers: int, flower: bool) -> None:
    """Run the whole system on this machine, in the foreground.

    PostgreSQL and Redis come along, unless CALLBOX_DATABASE_URL and CALLBOX_REDIS_URL name yours. Whatever dies is
    started again. Ctrl-C or SIGTERM empties the inbox and stops everything.
    """
    plan = plan_of(load(config_path, os.environ), folder, port, ingresses, workers, flower)
    run = Up(plan, say)
    run.run(when_ready=lambda: say(f"ready {run.addresses['CALLBOX_URL']}"))


def plan_of(config: Config, folder: Path, port: int, ingresses: int, workers: int, flower: bool) -> Plan:
    """What `up` is to run; servers that the environment names are not brought along."""
    return Plan(
        folder=folder,
        config=config,
        port=port,
        ingresses=ingresses,
        workers=workers,
        flower=flower,
        redis_url=os.environ.get("CALLBOX_REDIS_URL") or None,
        database_url=os.environ.get("CALLBOX_DATABASE_URL") or None,
    )


@main.command("demo")
@DATA
@PORT
@speaks_plainly
def run_demo(folder: Path, port: int) -> None:
    """Run everything with an example configuration, and show a few callbacks on their way (`make run`)."""
    loaded = load(demo.example_config(folder), os.environ)
    run = Up(plan_of(loaded, folder, port, ingresses=1, workers=2, flower=True), say)
    say("starting PostgreSQL, Redis, ingress, workers and Flower…")
    run.run(when_ready=lambda: demo.show(loaded, run.addresses))


@main.command()
@DATA
@speaks_plainly
def migrate(folder: Path) -> None:
    """Bring the database to this version's schema. Safe to repeat."""
    applied = schema.migrate(config.load_settings(environment(folder)).database_url)
    for name in applied:
        say(f"applied {name}")
    if not applied:
        say("nothing to do: the database is up to date")


@main.command()
@CONFIG
@DATA
@speaks_plainly
def check(config_path: Path | None, folder: Path) -> None:
    """Read the configuration, try Redis and PostgreSQL, and say what is wrong or risky.

    Exits with 1 when something is wrong, with 2 when the configuration cannot be used.
    """
    findings = list(checks.check(load(config_path, environment(folder))))
    for level, what, told in findings:
        say(f"{level:5}  {what}: {told}")
    wrong = sum(finding.level == "wrong" for finding in findings)
    if wrong:
        raise Failed(f"{wrong} of these break{'s' if wrong == 1 else ''} a promise and must be mended")


@main.command()
@click.argument("source_name", metavar="SOURCE")
@click.option("--kind", type=click.Choice(["mo", "dr"]), help="Inbound messages or delivery reports.  [default: both]")
@click.option("--count", default=1, show_default=True, type=click.IntRange(1), metavar="N")
@click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="N", help="At most so many in a second.")
@CONFIG
@DATA
@speaks_plainly
def send(
    source_name: str,
    kind: simulator.Kind | None,
    count: int,
    rate: float | None,
    config_path: Path | None,
    folder: Path,
) -> None:
    """Play the provider of SOURCE: sign and send realistic callbacks to the ingress.

    The ingress is that of the running `callbox up`, or CALLBOX_URL. Exits with 1 unless all were accepted.
    """
    environ = environment(folder)
    loaded = load(config_path, environ)
    source = loaded.sources.get(source_name)
    if source is None:
        names = ", ".join(loaded.sources)
        raise click.BadParameter(
            f"there is no source {source_name} in {loaded.path}, only {names}", param_hint="SOURCE"
        )
    kinds: list[simulator.Kind] = [kind] if kind else ["mo", "dr"]
    url = environ.get("CALLBOX_URL", "http://127.0.0.1:8000")
    requests = simulator.requests(source, kinds, count, random.Random())  # noqa: S311 - it is play
    with (
        simulator.Sender(url) as sender,
        progress(f"sending to {source_name}", count, hidden=count < LONG_RUN) as advance,
    ):
        answers = sender.send_all(requests, rate, lambda _: advance())
    accepted = [answer for answer in answers if answer.callback_id]
    for answer in accepted if count < LONG_RUN else ():
        say(f"accepted {answer.callback_id}")
    for (status, trouble), number in Counter((it.status, it.trouble) for it in answers if not it.callback_id).items():
        say(f"not accepted: {number} × {f'HTTP {status}' if status else trouble} ({url})")
    if accepted:
        times = sorted(1000 * answer.seconds for answer in accepted)
        middle, late = times[len(times) // 2], times[len(times) * 99 // 100]
        say(f"{len(accepted)} of {count} accepted, half within {middle:.1f} ms, 99 % within {late:.1f} ms")
    if len(accepted) < count:
        raise Failed(f"{count - len(accepted)} of {count} callbacks were not accepted")


@main.command()
@JSON
@DATA
@speaks_plainly
def status(json_wanted: bool, folder: Path) -> None:
    """Show the ledger: what was accepted, and what became of it.

    accepted = stored + duplicates + dead_letters + ignored + pending + spooled; a difference to what the inbox really
    holds is named, and so is every source that no worker drains.
    """
    url = config.load_settings(environment(folder)).redis_url
    with inbox.connect(url, 5.0) as client:
        snapshot = inbox.take_snapshot(client)
        missing = inbox.differences(snapshot, inbox.waiting_by_source(client)) if snapshot.difference else {}
    total, sources = inbox.accounts(snapshot)
    if json_wanted:
        accounts = {
            name: {**account._asdict(), "oddities": snapshot.oddities.get(name, {})}
            for name, account in sources.items()
        }
        held = {source: hold.why for source, hold in snapshot.holds.items()}
        say(*as_json({**total._asdict(), "difference": snapshot.difference, "held": held, "sources": accounts}))
        return
    rows = [(name, *account) for name, account in sources.items()]
    headings = ["source", *(field.replace("_", " ") for field in inbox.Account._fields)]
    say(*table(headings, [*rows, ("all", *total)], numbers=frozenset(range(1, len(headings)))))
    odd = [
        (name, what, count) for name, its in sorted(snapshot.oddities.items()) for what, count in sorted(its.items())
    ]
    if odd:
        say("")
        say(*table(("source", "what was odd", "callbacks"), odd, numbers=frozenset({2})))
    for source, difference in missing.items():
        than = "more" if difference > 0 else "less"
        say(f"the inbox holds {abs(difference)} {than} of {source} than the ledger says")
    for source, hold in snapshot.holds.items():
        say(f"{source} is held: {hold.why}. Deploy a fix, or `callbox resume {source}` to process it anyway")


@main.command()
@click.argument("source_name", metavar="SOURCE")
@DATA
@speaks_plainly
def resume(source_name: str, folder: Path) -> None:
    """Drain a held source again, whatever becomes of its callbacks with this release.

    `callbox status` says which sources are held, and why. What cannot be understood becomes dead letters.
    """
    url = config.load_settings(environment(folder)).redis_url
    with inbox.connect(url, 5.0) as client:
        holds = inbox.Holds(client)
        if source_name not in holds.read().held:
            raise Failed(f"{source_name} is not held: see `callbox status`")
        holds.waive(source_name, this_release())
        holds.release(source_name)
    say(f"{source_name} is drained again")


@main.command()
@click.argument("callback_id", metavar="ID", type=click.UUID)
@JSON
@DATA
@speaks_plainly
def show(callback_id: UUID, json_wanted: bool, folder: Path) -> None:
    """Show one callback: raw, its outcome, and its events. ID is the X-Callbox-Id of its acknowledgement."""
    with Queries(config.load_settings(environment(folder)).database_url) as queries:
        found = queries.callback(callback_id)
    if found is None:
        raise Failed(f"{callback_id} is not in PostgreSQL: it waits in the inbox (`callbox status`), or never was")
    say(*(as_json(found._asdict()) if json_wanted else as_text(found)))


@main.command()
@click.option("--source", metavar="NAME")
@SINCE
@LIMIT
@JSON
@CONFIG
@DATA
@speaks_plainly
def conflicts(
    source: str | None,
    since: datetime | None,
    limit: int,
    json_wanted: bool,
    config_path: Path | None,
    folder: Path,
) -> None:
    """List events that came again with another content, the newest first; `show` tells what each said."""
    loaded = load(config_path, environment(folder))
    with Queries(loaded.settings.database_url) as queries:
        found = queries.conflicts(loaded.sources, source=source, since=utc(since), limit=limit)
    columns = ("received_at", "source", "message_id", "callback_id", "stored_by")
    say_rows(found, columns, json_wanted, "no conflicts")


main.add_command(dead_letters)
