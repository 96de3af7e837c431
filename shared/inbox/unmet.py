"""What workers and ingresses find unmet of the demands on their servers: each host's latest reports, for who looks from
outside."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from shared.demands import CHECK_SECONDS
from shared.inbox.client import Shard, text_of
from shared.inbox.clock import seconds_of
from shared.inbox.errors import or_unavailable
from shared.inbox.keys import script

Unmet = Mapping[str, Sequence[str]]  # server → sentences

# A report that was not repeated for so long is of a process that is gone. While nothing is drained, one host of workers
# after the other looks, with each maintenance.
_COUNTS_SECONDS = 10 * CHECK_SECONDS


class _Report(msgspec.Struct, frozen=True):
    at: float
    unmet: dict[str, list[str]]


def report_unmet(shard: Shard, host: str, unmet: Unmet) -> None:
    """Takes the place of the report before of this host's workers, and forgets hosts that are gone. Raises
    RedisUnavailable."""
    _report(shard, shard.names.unmet, host, unmet)


def report_ingress_unmet(shard: Shard, host: str, unmet: Unmet) -> None:
    """The same for its ingresses."""
    _report(shard, shard.names.ingress_unmet, host, unmet)


@or_unavailable
def _report(shard: Shard, key: str, host: str, unmet: Unmet) -> None:
    at = seconds_of(shard.time())
    fields: Any = shard.hgetall(key)
    if gone := [name for name, report in _reports(fields) if not _counts(report, at)]:
        shard.hdel(key, *gone)
    if any(unmet.values()):
        report = msgspec.json.encode(_Report(at, {what: list(each) for what, each in unmet.items() if each}))
        shard.register_script(script("note"))(keys=[key], args=["HSET", host, report])
    else:
        shard.hdel(key, host)


def reports_in(fields: Mapping[bytes, bytes], now: float) -> dict[str, Unmet]:
    """The reports that still count, by host."""
    return {text_of(host): report.unmet for host, report in _reports(fields) if _counts(report, now)}


def _reports(fields: Mapping[bytes, bytes]) -> Iterable[tuple[bytes, _Report]]:
    return ((host, msgspec.json.decode(report, type=_Report)) for host, report in fields.items())


def _counts(report: _Report, now: float) -> bool:
    return now - report.at <= _COUNTS_SECONDS
