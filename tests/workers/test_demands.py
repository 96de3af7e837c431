"""What is found about a PostgreSQL that is not what Callbox needs: tried on real databases."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from shared.demands import Examined
from tests.conftest import Servers
from workers import demands, schema


@contextmanager
def admin(url: str) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def examined(url: str) -> Examined:
    with admin(url) as connection:
        return demands.examine(connection)


def database_in(embedded: Servers, encoding: str) -> str:
    name = f"in_{encoding.lower()}"
    with admin(embedded.postgres.url) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}".encode())
        connection.execute(f"CREATE DATABASE {name} ENCODING {encoding} TEMPLATE template0".encode())
    return embedded.postgres.url.rpartition("/")[0] + f"/{name}"


def as_role(url: str, *grants: str) -> str:
    """The URL for a role who may do this, and no more."""
    with admin(url) as connection:
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'tried'").fetchone() is None:
            connection.execute("CREATE ROLE tried")
            connection.execute("GRANT tried TO CURRENT_USER")
        connection.execute("REASSIGN OWNED BY tried TO CURRENT_USER")
        connection.execute("DROP OWNED BY tried")
        for grant in grants:
            connection.execute(f"GRANT {grant} TO tried".encode())
    return f"{url}?options={quote('-c role=tried')}"


def test_a_migrated_database_is_met_and_the_trial_leaves_nothing(database_url: str) -> None:
    assert examined(database_url)[1:] == ([], [])
    with admin(database_url) as connection:
        assert connection.execute("SELECT 1 FROM callbacks").fetchall() == []


def test_an_empty_one_has_to_be_migrated(empty_database_url: str) -> None:
    assert examined(empty_database_url).unmet == ["is not migrated: run `callbox migrate`"]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_another_encoding_is_named_and_migrate_refuses_it(embedded: Servers, encoding: str) -> None:
    url = database_in(embedded, encoding)
    (sentence,) = examined(url).unmet
    assert f"is in {encoding}" in sentence
    assert "ENCODING 'UTF8'" in sentence
    with pytest.raises(schema.Unfit, match=f"is in {encoding}"):
        schema.migrate(url)
    with admin(url) as connection:
        assert connection.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'").fetchall() == []


def test_a_role_that_may_not_make_tables(empty_database_url: str) -> None:
    url = as_role(empty_database_url, "USAGE ON SCHEMA public")
    assert examined(url).unmet == ["is not migrated: run `callbox migrate` as a role that may make tables"]
    with pytest.raises(schema.Unfit, match="GRANT USAGE, CREATE ON SCHEMA public TO tried"):
        schema.migrate(url)


def test_a_role_that_stores_need_not_migrate(database_url: str) -> None:
    url = as_role(database_url, "USAGE ON SCHEMA public", "SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public")
    assert examined(url).unmet == []


def test_a_role_that_may_only_read(database_url: str) -> None:
    url = as_role(database_url, "USAGE ON SCHEMA public", "SELECT ON ALL TABLES IN SCHEMA public")
    (sentence,) = examined(url).unmet
    assert "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO tried" in sentence


def test_a_role_with_the_grants_that_are_proposed(empty_database_url: str, database_url: str) -> None:
    url = as_role(empty_database_url, "USAGE, CREATE ON SCHEMA public")
    schema.migrate(url)
    assert examined(url).unmet == []
    url = as_role(
        database_url,
        "USAGE, CREATE ON SCHEMA public",
        "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public",
        "USAGE ON ALL SEQUENCES IN SCHEMA public",
    )
    assert examined(url).unmet == []


def test_a_role_whose_transactions_only_read(database_url: str) -> None:
    (sentence,) = examined(f"{database_url}?options={quote('-c default_transaction_read_only=on')}").unmet
    assert "takes no writes" in sentence


def test_other_rules_for_sorting_than_when_the_indexes_were_made(embedded: Servers) -> None:
    (sentence,) = examined(embedded.postgres.url.rpartition("/")[0] + "/sorted_otherwise").unmet
    assert "REINDEX DATABASE sorted_otherwise" in sentence
    assert "REFRESH COLLATION VERSION" in sentence
