"""`callbox refused`: the quarantine. What was refused, why, and what proves itself once a mistake is corrected."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from uuid import UUID

import click
import msgspec

from deploy.commands.errors import Failed
from deploy.commands.options import (
    complete_source,
    configured_system_options,
    json_option,
    limit_option,
    reason_option,
    since_option,
    source_option,
)
from deploy.commands.rows import write_rows
from deploy.commands.sources import check_name, find_source
from deploy.output import write, write_table
from deploy.system import System
from deploy.table import table
from deploy.text import as_json
from ingress.replay import Replay
from ingress.reproof import Explanation, Reproof
from shared.errors import Rejected
from shared.inbox import Quarantine, RedisUnavailable
from shared.providers import PROVIDERS
from shared.refused import Refused

COLUMNS = ("received_at", "id", "source", "reason", "address", "method", "path", "bytes")
LAST = "last"


REMEDIES = {  # for what refuses, unless a mistake explains it
    "signature_wrong": (
        "No usual mistake explains it: compare the secrets of {source}, and the URL if it is signed, with those"
        " of the provider; the request of a stranger looks no different"
    ),
    "signature_missing": (
        "The provider signs this kind: is signing switched on there, and does each proxy pass the header on?"
    ),
    "signature_malformed": "No provider of this kind signs so: is it another provider's request, or a stranger's?",
    "algorithm_refused": "Have the provider sign with HS256: another algorithm needs another kind of key",
    "claims_malformed": "No provider writes such a token: it is a stranger's, or the provider has changed its format",
    "token_expired": "Compare both clocks, that of the provider and that of this host (NTP)",
    "token_not_yet_valid": "Compare both clocks, that of the provider and that of this host (NTP)",
    "timestamp_outside_window": (
        "Compare both clocks, or give {source} a larger timestamp_tolerance_seconds if the provider sends late"
    ),
    "body_changed": "Something on the way changes the body, a proxy perhaps: have it pass bodies on as they come",
    "unreadable": "It can be read in more than one way, or in none: a provider's own request is not like that",
    "unsigned": "Give {source} its secrets, or a token if the provider does not sign this kind",
    "address_not_allowed": (
        "If it is the provider's, add it to allow_ips of {source}; if it is your proxy's, CALLBOX_TRUSTED_PROXIES"
    ),
    "address_unknown": "Name each proxy in CALLBOX_TRUSTED_PROXIES, so that the caller's address is known",
    "token_missing": (
        "Nothing can prove it: it came before {source} had its token. Give the provider the URL with the token, and"
        " have it send again"
    ),
    "wrong_method": "The provider of {source} does not use this method: is it another provider's request?",
}


class Row(msgspec.Struct, frozen=True):
    """A refused request, without anything that a stranger wrote but its path."""

    received_at: datetime
    id: UUID
    source: str
    provider: str
    reason: str
    address: str | None
    method: str
    path: str
    bytes: int

    @classmethod
    def of(cls, refused: Refused) -> "Row":
        callback = refused.callback
        return cls(
            callback.received_at,
            callback.id,
            callback.source,
            callback.provider,
            refused.reason,
            callback.remote_ip,
            callback.method,
            refused.path,
            len(callback.body),
        )


class ListByDefault(click.Group):
    """A group that lists when it is given no command: `callbox refused`, `callbox refused SOURCE`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_for_the_group = args and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if is_for_the_group else ["list", *args])


@click.group(cls=ListByDefault)
def refused() -> None:
    """Requests that failed their proof (401): list them, ask why, and replay those that prove themselves now.

    They are kept for a while in the quarantine (CALLBOX_QUARANTINE_HOURS). `callbox refused [SOURCE]` lists them.
    """


@refused.command("list")
@click.argument("source_name", metavar="[SOURCE]", required=False, shell_complete=complete_source)
@reason_option
@since_option
@limit_option
@json_option
@configured_system_options
def list_refused(
    source_name: str | None,
    reason: str | None,
    since: datetime | None,
    limit: int,
    json_wanted: bool,
    system: System,
) -> None:
    """List refused requests, the newest first; without queries, which may have phone numbers."""
    with system.inbox() as found:
        quarantine = Quarantine(found.first)
        sources = _sources(quarantine, source_name, system)
        rows = [row for source in sources for row in _newest(quarantine, source, reason, since, limit)]
    rows.sort(key=lambda row: row.received_at, reverse=True)
    of = source_name or "a source"
    nothing = f"no kept request of {of} matches" if reason or since else f"nothing is kept that {of} refused"
    write_rows(rows[:limit], COLUMNS, json_wanted, nothing)


@refused.command()
@click.argument("wanted", metavar="ID|last")
@source_option
@json_option
@configured_system_options
def explain(wanted: str, source: str | None, json_wanted: bool, system: System) -> None:
    """Go step by step through the proof of a refused request, with the configuration as it is now.

    ID is that of the list; `last` is the latest one (of a source). No secret is shown, and nothing of a signature or a
    body.
    """
    reproof = Reproof(system.configuration(), PROVIDERS)
    with system.inbox() as found:
        quarantine = Quarantine(found.first)
        request = _find(quarantine, wanted, _sources(quarantine, source, system))
    row = Row.of(request)
    try:
        explanation = reproof.explain(request)
    except Rejected:
        raise Failed(f"{row.source} refused it, and is not in callbox.toml any more") from None
    if json_wanted:
        document = {
            "request": row,
            "steps": [finding._asdict() for finding in explanation.findings],
            "refused": explanation.reason,
            "mistakes": explanation.mistakes,
        }
        write(*as_json(document))
    else:
        _show(row, explanation)


@refused.command()
@click.option(
    "--source", "source_name", required=True, metavar="NAME", help="Of this source.", shell_complete=complete_source
)
@click.option("--dry", is_flag=True, help="Change nothing, but show what would become of them.")
@json_option
@configured_system_options
def replay(source_name: str, dry: bool, json_wanted: bool, system: System) -> None:
    """Prove refused requests again, after a mistake is corrected.

    Each is verified as of the time when it came, with the secrets of today. What proves itself goes to the inbox as an
    ordinary callback, and leaves the quarantine; the rest stays as it is. Replaying again does no harm, and finishes
    what an interrupted replay left.
    """
    configuration = system.configuration()
    find_source(configuration, source_name)
    with system.inbox() as found:
        done = Replay(Quarantine(found.first), Reproof(configuration, PROVIDERS), configuration.settings)
        try:
            for _ in done.run(source_name, dry):
                with suppress(RedisUnavailable):  # beat rings too
                    found.ring(datetime.now(UTC))
        except BaseException:
            if done.counts:
                _show_counts(done.counts, source_name, dry, json_wanted)
            raise
        _show_counts(done.counts, source_name, dry, json_wanted)


def _newest(
    quarantine: Quarantine, source: str, reason: str | None, since: datetime | None, limit: int
) -> Iterator[Row]:
    rows = map(Row.of, quarantine.newest(source))
    wanted = (row for row in rows if reason in (None, row.reason) and (since is None or row.received_at >= since))
    return islice(wanted, limit)


def _sources(quarantine: Quarantine, name: str | None, system: System) -> list[str]:
    """Those that are meant: one that is no more may still have requests there. Raises click.BadParameter."""
    kept = quarantine.sources()
    if name is None:
        return kept
    if name not in kept:
        check_name(name, system)
    return [name]


def _find(quarantine: Quarantine, wanted: str, sources: list[str]) -> Refused:
    """Raises Failed when it does not exist, click.BadParameter for what is no id."""
    if wanted == LAST:
        latest = [each for name in sources for each in islice(quarantine.newest(name), 1)]
        if not latest:
            raise Failed("nothing that was refused is kept: see `callbox refused list`")
        return max(latest, key=lambda each: each.callback.received_at)
    try:
        id = UUID(wanted)
    except ValueError:
        raise click.BadParameter(f"{wanted!r} is neither an id of the list nor `{LAST}`", param_hint="ID") from None
    found = quarantine.find(id)
    if found is None:
        raise Failed(f"{id} is not in the quarantine: see `callbox refused list`")
    return found


def _show(row: Row, explanation: Explanation) -> None:
    write(
        f"{row.id}  {row.source} ({row.provider})  refused: {row.reason}",
        f"{row.received_at:%Y-%m-%d %H:%M:%S} UTC  from {row.address}  {row.method} {row.path}  {row.bytes} bytes",
        "",
        "With the configuration of now:",
    )
    width = max(len(finding.step) for finding in explanation.findings)
    for step, found, reason in explanation.findings:
        write(f"  {'refused' if reason else 'ok':8} {step:{width}}  {found}" + (f" ({reason})" if reason else ""))
    write("", *_verdict(row, explanation))


def _verdict(row: Row, explanation: Explanation) -> Iterator[str]:
    if explanation.reason is None:
        yield f"It proves itself now: take it in by `callbox refused replay --source {row.source}`"
        return
    yield from explanation.mistakes or [REMEDIES[explanation.reason].format(source=row.source)]
    yield f"Once it is corrected, `callbox refused replay --source {row.source}` takes in what proves itself"


def _show_counts(counts: Counter[str | None], source: str, dry: bool, json_wanted: bool) -> None:
    proven, refused_still = counts[None], {str(reason): counts[reason] for reason in sorted(filter(None, counts))}
    left = sum(refused_still.values())
    if json_wanted:
        write(*as_json({"dry": dry, "source": source, "proven": proven, "refused": refused_still}))
        return
    if not proven + left:
        write(f"nothing is kept that {source} refused")
        return
    if refused_still:
        write_table(table(("requests", "refused still"), [(count, reason) for reason, count in refused_still.items()]))
    becomes = "dry run, nothing was changed: {} would go to the inbox" if dry else "{} are in the inbox"
    stay = f", {left} stay: see `callbox refused explain last --source {source}`" if left else ""
    write(becomes.format(proven) + stay)
