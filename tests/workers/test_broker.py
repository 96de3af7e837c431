"""Celery's connections to its broker: by the same URLs as the inbox, and to a primary only."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu.connection import Connection

from shared import inbox
from shared.inbox import doorbell
from shared.inbox.connection import Connection as ToPrimary
from tests.own_redis import demote, own_redis, promote, url_of
from workers import broker


@pytest.mark.parametrize(
    ("url", "shown", "tls"),
    [
        ("redis://:pw@host:7/2", "redis://:pw@host:7/2", None),
        ("redis://:pw@host/?db=2", "redis://:pw@host/2", None),
        ("unix:///run/redis.sock?db=1", "redis+socket:///run/redis.sock", None),
        ("redis+sentinel://me:pw@a:1,b:2/m/3?sentinel_password=x", "sentinel://me:pw@a:1/3", None),
        (
            "rediss://host/0?ssl_ca_certs=/ca&ssl_cert_reqs=optional",
            "rediss://host/0",
            {"ssl_ca_certs": "/ca", "ssl_cert_reqs": ssl.CERT_OPTIONAL},
        ),
    ],
)
def test_flower_is_given_what_it_understands_of_a_url(url: str, shown: str, tls: dict[str, Any] | None) -> None:
    settings = broker.settings_of(url)
    assert (settings["broker_url"], settings["broker_use_ssl"]) == (shown, tls)
    assert settings["broker_transport_options"].get("master_name") == ("m" if "sentinel" in url else None)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[inbox.Shard]:
    with own_redis(tmp_path) as shard:
        yield shard


def connection(url: str) -> Connection:
    app = Celery("test", set_as_current=False)
    app.conf.update(**broker.settings_of(url))
    made: Connection = app.connection_for_write()
    return made


def test_a_message_goes_to_the_server_and_database_of_the_url(own: inbox.Shard) -> None:
    with connection(url_of(own).replace("/0", "/3")) as made:
        channel: Any = made.default_channel
        assert issubclass(channel.client.connection_pool.connection_class, ToPrimary)
        made.SimpleQueue(doorbell.QUEUE).put("ring")
    with inbox.connect(url_of(own).replace("/0", "/3"), 5.0) as shard:
        assert shard.llen(doorbell.QUEUE) == 1
    assert own.llen(doorbell.QUEUE) == 0


def test_another_application_of_the_process_has_kombu_s_own_connections(own: inbox.Shard) -> None:
    with Celery("other", broker=url_of(own), set_as_current=False).connection_for_write() as made:
        made.SimpleQueue("other").put("hello")
    assert own.llen("other") == 1


def test_a_server_that_takes_no_writes_is_a_connection_that_was_lost(own: inbox.Shard) -> None:
    """kombu keeps a connection whose server answers with an error, and would never ask for another primary."""
    with connection(url_of(own)) as made:
        queue: Any = made.SimpleQueue(doorbell.QUEUE)
        queue.put("ring")
        demote(own)
        with pytest.raises(made.connection_errors, match="READONLY"):
            queue.put("ring")
        promote(own)
        queue.put("ring")
    assert own.llen(doorbell.QUEUE) == 2
