"""Finding: a text as all that it may be, and the rows that it leads to."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest

from shared.callback import new_id
from shared.events import Status
from shared.outcomes import Stage
from tests.workers.conftest import START, attempt, message, parsed, report
from workers.dead_letters import WHOLE, DeadLetter
from workers.drain.store import Store
from workers.find import Found, find, meaning_of
from workers.queries import Queries
from workers.statements import sql

NUMBER = "+491711234567"
BROKEN = DeadLetter(WHOLE, Stage.PARSE, "not JSON", "")


@pytest.fixture
def queries(database_url: str) -> Iterator[Queries]:
    with Queries(database_url) as queries:
        yield queries


def kinds(found: Found) -> dict[str, int]:
    return {name: len(rows) for name, rows in found._asdict().items() if rows}


SPELLINGS = [
    *(NUMBER, "491711234567", "00491711234567", "+49 171 1234567", "+49 (171) 123-4567", "(+49) 171/123.45.67"),
    *("0049 171 123 4567", "01711234567", "0171 / 1234567", "(0171) 123 45 67", "1711234567", "234567"),
    "+49\u2011171\u20111234567",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("stored", [NUMBER, NUMBER[1:], f"00{NUMBER[1:]}"])
def test_a_number_is_found_in_any_spelling_whichever_is_stored(
    store: Store, queries: Queries, spelling: str, stored: str
) -> None:
    attempt(store, [parsed(message("in", sender=stored)), parsed(message("to", recipient=stored))])
    attempt(
        store, [parsed(report("out", Status.SENT, recipient=stored)), parsed(message("other", sender="+4917112345"))]
    )
    found = find(queries, spelling, 50)
    assert {row.message_id for row in found.messages} == {"in", "to"}
    assert [row.message_id for row in found.deliveries] == ["out"]
    assert [row.message_id for row in found.reports] == ["out"]
    brought = {row.callback_id for row in found.messages} | {row.callback_id for row in found.reports}
    assert {row.id for row in found.callbacks} == brought


def test_with_a_country_code_a_number_is_that_number_only(store: Store, queries: Queries) -> None:
    attempt(store, [parsed(message("1", sender="+491711234567")), parsed(message("2", sender="+431711234567"))])
    assert len(find(queries, "0171 1234567", 50).messages) == 2
    assert [row.message_id for row in find(queries, "+43 171 1234567", 50).messages] == ["2"]
    assert not any(find(queries, "+1 171 1234567", 50))


@pytest.mark.parametrize("text", ["ACME", "50% off", "under_score", "back\\slash", "user@example.com", "x" * 90])
def test_a_senders_name_is_found_as_it_is(store: Store, queries: Queries, text: str) -> None:
    others = [
        parsed(message(str(n), sender=other)) for n, other in enumerate((f"{text}x", f"x{text}", "x" * 99, "50 off"))
    ]
    attempt(store, [parsed(message("named", sender=text)), *others])
    assert [row.message_id for row in find(queries, text, 50).messages] == ["named"]


def test_a_message_id_is_found_in_every_source_with_what_became_of_it(store: Store, queries: Queries) -> None:
    sent = [
        parsed(report("SM7", status), source=source) for source in "st" for status in (Status.SENT, Status.DELIVERED)
    ]
    attempt(store, [*sent, parsed(message("SM7"), source="u"), parsed(report("SM8", Status.SENT), source="u")])
    found = find(queries, "SM7", 50)
    assert kinds(found) == {"callbacks": 5, "messages": 1, "deliveries": 2, "reports": 4}
    assert {(row.source, row.status) for row in found.deliveries} == {("s", "delivered"), ("t", "delivered")}


def test_a_callback_is_found_by_its_id_and_by_the_beginning_of_it(store: Store, queries: Queries) -> None:
    one = parsed(message("1"), report("2", Status.SENT), dead_letters=[BROKEN])
    attempt(store, [one])
    id = str(one.callback.id)
    for text in (id, id.upper(), id.replace("-", ""), id[:8], id[:13], f" {id} "):
        found = find(queries, text, 50)
        assert kinds(found) == {"callbacks": 1, "messages": 1, "deliveries": 1, "reports": 1, "dead_letters": 1}, text
        assert found.callbacks[0].id == one.callback.id


def test_several_callbacks_that_begin_so_are_listed(store: Store, queries: Queries) -> None:
    batch = []
    for seconds in (0, 1, 200):
        at = START + timedelta(seconds=seconds)
        batch.append(parsed(message(str(seconds)), id=new_id(at), received_at=at))
    attempt(store, batch)
    first, second, later = (each.callback.id for each in batch)
    assert str(first)[:8] == str(second)[:8] != str(later)[:8]
    found = find(queries, str(first)[:8], 50)
    assert (kinds(found), [row.id for row in found.callbacks]) == ({"callbacks": 2}, [second, first])
    assert len(find(queries, str(first)[:8], 1).callbacks) == 1
    assert [row.id for row in find(queries, str(later)[:8], 50).callbacks] == [later]


def test_a_number_that_is_the_beginning_of_several_ids_is_found_too(store: Store, queries: Queries) -> None:
    at = datetime.fromtimestamp(int("019612345678", 16) / 1000, UTC)
    batch = [parsed(message(str(n), sender="01961 2345678"), id=new_id(at), received_at=at) for n in range(2)]
    assert all(str(each.callback.id).startswith("01961234-5678") for each in batch)
    attempt(store, batch)
    later = START + timedelta(days=1)
    attempt(store, [parsed(message("later", sender="+441961234567"), id=new_id(later), received_at=later)])
    found = find(queries, "01961234567", 50)
    assert {row.message_id for row in found.messages} == {"later"}
    assert len(found.callbacks) == 3


@pytest.mark.parametrize(
    "text", ["ffffffff", str(UUID(int=2**128 - 1)), "0" * 32, "+", "12", "nothing", "a" * 300, "\\"]
)
def test_what_nothing_has_is_not_found(store: Store, queries: Queries, text: str) -> None:
    attempt(store, [parsed(message("x", sender=NUMBER))])
    assert not any(find(queries, text, 50))


def test_no_more_rows_than_asked_for_the_newest_first(store: Store, queries: Queries) -> None:
    for number in range(5):
        at = START + timedelta(seconds=number)
        attempt(store, [parsed(message(str(number), sender=NUMBER), id=new_id(at), received_at=at)])
    found = find(queries, NUMBER, 2)
    assert ([row.message_id for row in found.messages], len(found.callbacks)) == (["4", "3"], 2)


def test_eight_digits_may_be_a_number_an_id_and_the_beginning_of_one() -> None:
    meaning = meaning_of("01912345")
    assert meaning.ids is not None
    assert str(meaning.ids[0]).startswith("01912345")
    assert (meaning.text, meaning.end, meaning.exact) == ("01912345", "5432191%", None)


def test_the_indexes_serve_what_is_asked(database_url: str) -> None:
    """On a table that is worth an index: no table is read as a whole."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO inbound_messages (callback_id, source, provider, message_id, channel, sender, recipient, text,"
            " traffic, intent, received_at, extra, dedupe_key, fingerprint) SELECT gen_random_uuid(), 's', 'emnify', n,"
            " 'sms', '+49171' || 1000000 + n, '+49' || 1000000 + n, 'x', 'p2p', 'none', now(), '{}', n::text::bytea, ''"
            " FROM generate_series(1, 5000) n"
        )
        connection.execute(
            "INSERT INTO deliveries (source, provider, message_id, recipient, status, final, first_report_at,"
            " updated_at, reports, winner_rank, winner_position, winner_key) SELECT 's', 'emnify', n,"
            " '+49171' || 1000000 + n, 'sent', false, now(), now(), 1, 1, 1, '' FROM generate_series(1, 5000) n"
        )
        connection.execute("ANALYZE inbound_messages, deliveries")
        connection.commit()
        meaning = {**meaning_of("1711000077")._asdict(), "message_ids": ["77"], "limit": 50}
        for name in ("find/messages", "find/deliveries"):
            plan = "\n".join(line for (line,) in connection.execute(b"EXPLAIN " + sql(name), meaning).fetchall())
            assert "Seq Scan" not in plan, plan
