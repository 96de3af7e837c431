"""What workers and ingresses find unmet of the demands on their servers: each host's latest reports, for who looks from
outside."""

from collections.abc import Mapping, Sequence

from shared.demands import CHECK_SECONDS
from shared.inbox.client import Shard
from shared.inbox.errors import or_unavailable
from shared.inbox.reports import Report, Reports

Unmet = Mapping[str, Sequence[str]]  # server → sentences

# While nothing is drained, one host of workers after the other looks, with each maintenance.
REPORTS: Reports[Unmet] = Reports(Report[dict[str, list[str]]], 10 * CHECK_SECONDS)


def report_unmet(shard: Shard, host: str, unmet: Unmet) -> None:
    """Takes the place of the report before of this host's workers. Raises RedisUnavailable."""
    _report(shard, shard.names.unmet, host, unmet)


def report_ingress_unmet(shard: Shard, host: str, unmet: Unmet) -> None:
    """The same for its ingresses."""
    _report(shard, shard.names.ingress_unmet, host, unmet)


@or_unavailable
def _report(shard: Shard, key: str, host: str, unmet: Unmet) -> None:
    REPORTS.write(shard, key, host, {what: list(each) for what, each in unmet.items() if each} or None)


def reports_in(fields: Mapping[bytes, bytes], now: float) -> dict[str, Unmet]:
    """The reports that still count, by host."""
    return REPORTS.read(fields, now)
