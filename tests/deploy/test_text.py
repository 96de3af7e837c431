"""How values become text: one value, JSON, and a callback for people."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import psycopg
from hypothesis import given
from hypothesis import strategies as st

from deploy.text import as_json, as_text, first_line, one_line
from shared.outcomes import Outcome, Stage
from shared.visible import UNSAFE
from workers.queries import CallbackRow, CallbackView, DeadLetterRow, MessageRow, ReportRow

Row = TypeVar("Row", bound=msgspec.Struct)

ID = UUID(int=7)
AT = datetime(2026, 1, 2, 3, 4, 5, 678900, UTC)
HOSTILE = "\x1b[2J\x07\x9b\u202e\u2028\U000e0041"
ANY = st.text(st.characters(exclude_categories=()))


def found(body: bytes = b"raw", **fields: Any) -> CallbackView:
    callback = CallbackRow(
        id=ID,
        inbox_id="1-0",
        source="fleet",
        provider="emnify",
        received_at=AT,
        method="POST",
        headers={"content-type": "text/plain\nx: \\n"},
        body=body,
        remote_ip="192.0.2.7",
        outcome=Outcome.STORED,
        conflict=False,
        test=False,
    )
    return CallbackView(msgspec.structs.replace(callback, **fields), [], [], [])


def message(text: str, extra: dict[str, Any]) -> MessageRow:
    return row(MessageRow, message_id="7", channel="sms", text=text, intent="none", received_at=AT, extra=extra)


def report(status: str) -> ReportRow:
    return row(ReportRow, message_id="7", channel="sms", status=status, final=True, received_at=AT, extra={})


def dead_letter(detail: str) -> DeadLetterRow:
    known = {"id": 3, "callback_id": ID, "item": 0, "source": "fleet", "provider": "emnify", "stage": Stage.PARSE}
    return row(DeadLetterRow, **known, reason="not JSON", detail=detail, created_at=AT, attempts=1, state="open")


def row(kind: type[Row], **given: Any) -> Row:
    """A row whose other columns are null."""
    return kind(**{**{field.name: None for field in msgspec.structs.fields(kind)}, **given})


def test_a_value_is_one_line_with_times_to_the_second_objects_as_json_and_unsafe_characters_spelled() -> None:
    values = [AT, {"a": ["\x1b", "é", "a\nb"]}, "a\nb\x1b", "\\x1b", Decimal("0.10")]
    assert [one_line(value) for value in values] == [
        "2026-01-02 03:04:05+00:00",
        r'{"a": ["\u001b", "é", "a\nb"]}',
        r"a\nb\x1b",
        r"\\x1b",
        "0.10",
    ]


def test_json_has_all_values_and_escapes_what_is_unsafe() -> None:
    value = {"text": "é👍" + HOSTILE, "at": AT, "id": ID, "body": b"\x00\xff", "price": Decimal("0.10"), 7: []}
    assert as_json(value) == [
        "{",
        r'  "text": "é👍\u001b[2J\u0007\u009b\u202e\u2028\udb40\udc41",',
        '  "at": "2026-01-02T03:04:05.678900Z",',
        '  "id": "00000000-0000-0000-0000-000000000007",',
        '  "body": "AP8=",',
        '  "price": "0.10",',
        '  "7": []',
        "}",
    ]


@given(st.recursive(ANY | st.integers() | st.none(), lambda values: st.lists(values) | st.dictionaries(ANY, values)))
def test_json_stays_json_with_the_same_values(value: Any) -> None:
    lines = as_json(value)
    assert not UNSAFE.search("".join(lines))
    # In JSON two lone surrogates that make a pair are one character, whoever writes them.
    assert json.loads("\n".join(lines)) == json.loads(json.dumps(value))


def test_a_callback_is_shown_with_its_request_and_what_became_of_it() -> None:
    view = found(b"line one\n\n\x1b[2J\xff", query="a=1")
    view.messages.append(message("a\nb", {"notes": ["x"]}))
    view.dead_letters.append(dead_letter("at 3"))
    lines = as_text(view, reveal=True)
    assert lines[:11] == [
        f"{ID}  stored",
        "2026-01-02T03:04:05.678900+00:00  source fleet (emnify)  from 192.0.2.7  inbox entry 1-0",
        "",
        "POST /callbacks/fleet?a=1",
        r"content-type: text/plain\nx: \\n",
        "",
        "  | line one",
        "  | ",
        "  | \x1b[2J\\xff",
        "",
        "inbound message",
    ]
    assert r"  text            a\nb" in lines
    assert '  extra           {"notes": ["x"]}' in lines
    assert not [line for line in lines if line.startswith("  part_number")], "what is null is left out"
    assert lines[lines.index("dead letter") - 1] == ""
    assert "  detail          at 3" in lines
    assert "  created_at      2026-01-02 03:04:05+00:00" in lines


def test_a_callback_without_a_body_has_no_line_for_it() -> None:
    assert not [line for line in as_text(found(b""), reveal=True) if "|" in line]


@given(st.lists(ANY, min_size=6, max_size=6))
def test_no_value_begins_a_line(values: list[str]) -> None:
    header, text, extra, status, detail, body = values
    view = found(body.encode("utf-8", "replace"), headers={"user-agent": header})
    view.messages.append(message(text, {"sent": extra}))
    view.reports.append(report(status))
    view.dead_letters.append(dead_letter(detail))
    known = {field.name for kind in (MessageRow, ReportRow, DeadLetterRow) for field in msgspec.structs.fields(kind)}
    bare = [line for line in as_text(view, reveal=True) if not line.startswith("  | ")]
    named = [line for line in bare if line.startswith("  ")]
    assert {line[2:].partition(" ")[0] for line in named} <= known
    assert len(bare) == 6 + 3 * 2 + len(named)


def test_of_an_error_of_libpq_the_first_line_is_shown() -> None:
    error = psycopg.OperationalError("connection failed: refused\n\tIs the server running?")
    assert first_line(error) == "connection failed: refused"
