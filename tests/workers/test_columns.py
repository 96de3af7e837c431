"""The fields of events, the statements and the tables: none may have a column that another lacks."""

import re
from typing import Any

import msgspec
import pytest

from shared.callback import Callback
from shared.events import DeliveryReport, InboundMessage, Status
from tests.workers.conftest import Rows, message, report
from workers import queries, repeats
from workers import rows as writer
from workers.statements import sql

STORE = sql("store").decode()
OURS = {"id", "dedupe_key", "fingerprint", "callback_id", "source", "provider", "received_at"}  # added by store.sql


def recordset(name: str) -> set[str]:
    """The columns that store.sql reads of one of its parameters."""
    (columns,) = re.findall(rf"jsonb_to_recordset\(%\({name}\)s::jsonb\) AS \w+ \(([^)]*)\)", STORE)
    return {column.split()[0] for column in columns.split(",")}


def inserted(table: str) -> set[str]:
    """The columns that store.sql writes."""
    (columns,) = re.findall(rf"INSERT INTO {table} (?:AS \w+ )?\(([^)]*)\)", STORE)
    return {column.strip() for column in columns.split(",")}


TRACED = {"traceparent"}  # of a callback, for as long as it is on its way


def columns_of(rows: Rows, table: str) -> set[str]:
    found = rows(f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'")
    return {row["column_name"] for row in found}


def fields(kind: type[msgspec.Struct]) -> set[str]:
    return {field.name for field in msgspec.structs.fields(kind)}


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("messages", writer._event_row(message("1"))),
        ("reports", writer._event_row(report("1", Status.SENT))),
    ],
)
def test_store_sql_reads_every_field_of_an_event(name: str, row: dict[str, Any]) -> None:
    assert recordset(name) - {"n", "i"} == set(row)


def test_store_sql_reads_every_field_of_a_callback() -> None:
    assert recordset("callbacks") == fields(Callback) - TRACED | {"n", "inbox_id", "events"}


@pytest.mark.parametrize(
    ("table", "kind", "not_stored"),
    [("inbound_messages", InboundMessage, set()), ("delivery_reports", DeliveryReport, {"read"})],
)
def test_every_field_of_an_event_is_written_to_its_table(
    rows: Rows, table: str, kind: type[msgspec.Struct], not_stored: set[str]
) -> None:
    event = fields(kind) - {"key"} - not_stored
    assert event <= inserted(table)
    assert inserted(table) | {"id"} == columns_of(rows, table)


@pytest.mark.parametrize(
    ("query", "kind", "table", "not_shown"),
    [
        ("messages", queries.MessageRow, "inbound_messages", OURS - {"received_at"}),
        ("reports", queries.ReportRow, "delivery_reports", OURS - {"received_at"}),
        ("dead_letters", queries.DeadLetterRow, "dead_letters", set()),
        ("callback", queries.CallbackRow, "callbacks", set()),
        ("conflicts", queries.CallbackRow, "callbacks", set()),
        ("stored_message", repeats.StoredMessage, "inbound_messages", OURS - {"received_at", "callback_id"}),
        ("stored_report", repeats.StoredReport, "delivery_reports", OURS - {"received_at", "callback_id"}),
    ],
)
def test_every_column_is_read_for_those_who_look_at_a_callback(
    rows: Rows, query: str, kind: type[msgspec.Struct], table: str, not_shown: set[str]
) -> None:
    (selected,) = re.findall(r"SELECT (.*?)\sFROM", sql(f"queries/{query}").decode(), re.DOTALL)
    names = {column.strip().split(" AS ")[-1] for column in selected.split(",")}
    assert names == fields(kind) - TRACED == columns_of(rows, table) - not_shown


def test_every_column_of_a_callback_is_written(rows: Rows) -> None:
    assert inserted("callbacks") == columns_of(rows, "callbacks")
