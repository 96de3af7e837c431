"""What the ingress finds about its servers while it serves, and goes on."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from ingress import metrics
from ingress.examiner import Examiner
from ingress.spools import Spools
from shared import inbox
from shared.settings import Settings


@pytest.fixture
def forgetful(redis_url: str) -> Iterator[str]:
    """A Redis that was durable when the ingress started."""
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("appendfsync", "no")
        yield redis_url
        client.config_set("appendfsync", "always")


def found(redis_url: str, spool: Path) -> dict[str, list[str]]:
    async def run() -> dict[str, list[str]]:
        settings = Settings(redis_url=redis_url, spool_dir=str(spool))
        spools = Spools(settings)
        examiner = Examiner(spools, settings)
        await examiner.examine()
        await spools.close()
        return {what: list(unmet) for what, unmet in examiner.watch.unmet.items()}

    return asyncio.run(run())


def gauge(what: str) -> float:
    families = text_string_to_metric_families(metrics.render().decode())
    samples = [sample for family in families for sample in family.samples]
    (value,) = [
        sample.value for sample in samples if sample.name.endswith("unmet_demands") and sample.labels["what"] == what
    ]
    return value


def reported(redis_url: str) -> dict[str, dict[str, list[str]]]:
    """What the inbox has of it, by host."""
    with inbox.connect(redis_url, 5.0) as client:
        return {
            host: {what: list(each) for what, each in unmet.items()}
            for host, unmet in inbox.take_snapshot(client).ingress_unmet.items()
        }


def test_a_shard_that_is_away_keeps_no_report_of_the_spool(redis_url: str, tmp_path: Path) -> None:
    no_folder = tmp_path / "file"
    no_folder.write_text("")
    assert "spool" in found(f"{redis_url} redis://127.0.0.1:1", no_folder)
    (unmet,) = reported(redis_url).values()
    assert list(unmet) == ["spool"]


def test_servers_that_keep_the_promises(redis_url: str, tmp_path: Path) -> None:
    assert found(redis_url, tmp_path) == {"redis": [], "spool": []}
    assert (gauge("redis"), gauge("spool")) == (0, 0)
    assert reported(redis_url) == {}


def test_a_redis_that_is_no_longer_durable_and_a_spool_that_takes_nothing(forgetful: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    unmet = found(forgetful, tmp_path / "file")
    assert "appendfsync is no" in unmet["redis"][0]
    assert "the spool cannot be made" in unmet["spool"][0]
    assert (gauge("redis"), gauge("spool")) == (1, 1)
    assert reported(forgetful) == {socket.gethostname(): unmet}
    found(forgetful, tmp_path)
    assert list(reported(forgetful)[socket.gethostname()]) == ["redis"]


def test_a_redis_that_is_away_is_no_news(tmp_path: Path) -> None:
    assert found("redis://127.0.0.1:1/0", tmp_path) == {"spool": []}
