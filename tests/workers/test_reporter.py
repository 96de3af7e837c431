"""What a worker notes and reports about servers that are not what Callbox needs."""

import socket
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from shared import inbox
from shared.catalogue import WORKER_UNMET
from shared.inbox import Shard
from tests.keys import UNMET
from workers.database import Database
from workers.reporter import Reporter
from workers.tally import Tally

HOST = socket.gethostname()


@pytest.fixture
def reporter(client: Shard, database_url: str) -> Iterator[Reporter]:
    """Of a worker whose role may only read."""
    only_reads = quote("-c default_transaction_read_only=on")
    database = Database(f"{database_url}?options={only_reads}", 5)
    yield Reporter(inbox.Inbox([client], client), database)
    database.close()


def test_what_is_unmet_is_reported_once_a_minute(
    client: Shard, reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter.report_if_due()
    unmet = inbox.take_snapshot(client).unmet
    assert list(unmet) == [HOST]
    assert "takes no writes" in unmet[HOST]["postgresql"][0]
    client.delete(UNMET)
    reporter.report_if_due()
    assert inbox.take_snapshot(client).unmet == {}
    monkeypatch.setattr("workers.reporter.CHECK_SECONDS", 0)
    reporter.report_if_due()
    assert list(inbox.take_snapshot(client).unmet) == [HOST]


def test_what_is_unmet_is_in_the_metrics_and_the_sources_are_noted(client: Shard, database_url: str) -> None:
    tally, database = Tally(), Database(database_url, 5)
    Reporter(inbox.Inbox([client], client), database, 3, {"otp", "fleet"}, tally).report_if_due()
    database.close()
    assert (tally.value(WORKER_UNMET, "redis"), tally.value(WORKER_UNMET, "postgresql")) == ([1], [0])
    assert inbox.take_snapshot(client).notes.sources == ["fleet", "otp"]


def test_a_postgresql_that_is_away_is_no_news_and_a_good_one_ends_the_report(client: Shard, database_url: str) -> None:
    inbox.report_unmet(client, HOST, {"postgresql": ["fsync is off"], "redis": []})
    assert inbox.take_snapshot(client).unmet == {HOST: {"postgresql": ["fsync is off"]}}
    Reporter(inbox.Inbox([client], client), Database("postgresql://127.0.0.1:1/x", 5)).report_if_due()
    database = Database(database_url, 5)
    Reporter(inbox.Inbox([client], client), database).report_if_due()
    database.close()
    assert inbox.take_snapshot(client).unmet == {}


def test_a_shard_that_is_away_keeps_no_report_from_the_others(client: Shard, reporter: Reporter) -> None:
    with inbox.connect("redis://127.0.0.1:1", 1.0, 1) as away:
        reporter._inbox = inbox.Inbox([client, away], client)
        reporter.report_if_due()
    assert list(inbox.take_snapshot(client).unmet) == [HOST]


def test_reports_of_hosts_that_are_gone_are_forgotten(client: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox.report_unmet(client, "gone", {"postgresql": ["fsync is off"]})
    assert client.hkeys(UNMET) == [b"gone"]
    monkeypatch.setattr("shared.inbox.unmet.REPORTS.seconds", -1)
    inbox.report_unmet(client, HOST, {})
    assert client.hkeys(UNMET) == []


def test_a_report_of_another_release_is_passed_over_and_forgotten(client: Shard) -> None:
    client.hset(UNMET, "host", b'{"at": 1, "other": {}}')
    assert inbox.take_snapshot(client).unmet == {}
    inbox.report_unmet(client, HOST, {})
    assert client.hkeys(UNMET) == []
