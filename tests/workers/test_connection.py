"""A URL with several hosts: the one that takes writes is found."""

from urllib.parse import urlsplit

import psycopg
import pytest

from shared import config
from workers.connection import address_of, connect


def several(url: str, *hosts: str) -> str:
    """The URL with these hosts before its own."""
    parts = urlsplit(url)
    own = parts.netloc.rpartition("@")[2]
    return url.replace(own, ",".join((*hosts, own)))


def test_a_host_that_is_away_is_passed_over(database_url: str) -> None:
    url = several(database_url, "127.0.0.1:1")
    assert config.load_settings({"CALLBOX_DATABASE_URL": url}).database_url == url
    with connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_host_that_takes_no_writes_is_none_to_store_in(database_url: str) -> None:
    url = several(database_url, "127.0.0.1:1") + "?options=-c%20default_transaction_read_only%3Don"
    with pytest.raises(psycopg.OperationalError, match="read-only"):
        connect(url)
    with connect(url + "&target_session_attrs=any") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_the_address_for_programs_has_no_password_on_their_command_line() -> None:
    address = address_of("postgresql://callbox:secret@a,b:5433/x?connect_timeout=3")
    assert "secret" not in address.without_password
    assert "target_session_attrs=read-write" in address.without_password
    assert dict(address.secrets) == {"PGPASSWORD": "secret"}
    assert dict(address_of("host=a dbname=x").secrets) == {}
