import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.text import as_json, as_text, table
from shared.outcomes import Outcome, Stage
from shared.visible import UNSAFE
from workers.queries import CallbackRow, CallbackView, DeadLetterRow

ID = UUID(int=7)
AT = datetime(2026, 1, 2, 3, 4, 5, 678900, UTC)
HOSTILE = "\x1b[2J\x07\x9b\u202e\u2028\U000e0041"
ANY = st.text(st.characters(exclude_categories=()))


def found(body: bytes = b"raw", **fields: Any) -> CallbackView:
    given = {
        "id": ID,
        "inbox_id": "1-0",
        "source": "fleet",
        "provider": "emnify",
        "received_at": AT,
        "method": "POST",
        "headers": {"content-type": "text/plain\nx: \\n"},
        "body": body,
        "remote_ip": "192.0.2.7",
        "outcome": Outcome.STORED,
        "conflict": False,
    }
    return CallbackView(CallbackRow(**{**given, **fields}), [], [], [])


def dead_letter(detail: str) -> DeadLetterRow:
    return DeadLetterRow(
        id=7,
        callback_id=ID,
        item=-1,
        source="fleet",
        provider="emnify",
        stage=Stage.PARSE,
        reason="not JSON",
        detail=detail,
        created_at=AT,
        attempts=1,
        state="open",
    )


def test_a_table_has_its_columns_under_their_headings() -> None:
    assert table(("name", "n"), [("a", 1), (None, 20)], numbers=frozenset({1})) == [
        "name   n",
        "────  ──",
        "a      1",
        "–     20",
    ]


@pytest.mark.parametrize(
    ("cell", "columns"),
    [
        ("abc", 3),
        ("你好", 4),
        ("👍", 2),
        ("e\u0301", 1),
        ("ไม่", 2),
        ("❤\ufe0f", 1),
        ("क्\u200dष", 2),
        ("नि", 2),
        ("\u202e", 6),
        ("\x1b", 4),
    ],
)
def test_a_cell_counts_the_columns_that_it_takes(cell: str, columns: int) -> None:
    _, _, line = table(("12345678", "next"), [(cell, "x")])
    assert line.endswith("x")
    assert len(line.removesuffix("x")) - len(table(("h",), [(cell,)])[2]) == 10 - columns


def test_a_long_cell_is_cut() -> None:
    assert table(("said",), [("x" * 40,), ("x" * 41,)])[2:] == ["x" * 40, "x" * 39 + "…"]


def test_a_cell_shows_times_to_the_second_objects_as_json_and_texts_on_one_line() -> None:
    cells = [AT, {"a": ["\x1b", "é", "a\nb"]}, "a\nb\x1b", "\\x1b", Decimal("0.10")]
    assert table(("said",), [(cell,) for cell in cells])[2:] == [
        "2026-01-02 03:04:05+00:00",
        r'{"a": ["\u001b", "é", "a\nb"]}',
        r"a\nb\x1b",
        r"\\x1b",
        "0.10",
    ]


@given(ANY)
def test_no_cell_is_more_than_one_line_or_unsafe(text: str) -> None:
    lines = table(("a", "b"), [(text, {"key": [text]})])
    assert len(lines) == 3
    assert not UNSAFE.search("".join(lines))


def test_json_says_all_values_and_escapes_what_is_unsafe() -> None:
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


@given(st.recursive(ANY | st.integers() | st.none(), lambda it: st.lists(it) | st.dictionaries(ANY, it)))
def test_json_stays_json_with_the_same_values(value: Any) -> None:
    lines = as_json(value)
    assert not UNSAFE.search("".join(lines))
    # In JSON two lone surrogates that make a pair are one character, whoever writes them.
    assert json.loads("\n".join(lines)) == json.loads(json.dumps(value))


def test_a_callback_is_shown_with_its_request_and_what_became_of_it() -> None:
    its = found(b"line one\n\n\x1b[2J\xff", query="a=1")
    its.messages.append({"text": "a\nb", "part_number": None, "extra": {"notes": ["x"]}})
    its.dead_letters.append(dead_letter("at 3"))
    assert as_text(its) == [
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
        r"  text            a\nb",
        '  extra           {"notes": ["x"]}',
        "",
        "dead letter",
        "  detail          at 3",
        "  created_at      2026-01-02 03:04:05+00:00",
    ]


def test_a_callback_without_a_body_has_no_line_for_it() -> None:
    assert not [line for line in as_text(found(b"")) if "|" in line]


@given(st.lists(ANY, min_size=6, max_size=6))
def test_no_value_begins_a_line(values: list[str]) -> None:
    header, text, extra, status, detail, body = values
    its = found(body.encode("utf-8", "replace"), headers={"user-agent": header})
    its.messages.append({"text": text, "extra": {"sent": extra}})
    its.reports.append({"status": status})
    its.dead_letters.append(dead_letter(detail))
    bare = [line for line in as_text(its) if not line.startswith("  | ")]
    names = [line[:18] for line in bare if line.startswith("  ")]
    ours = [("text", text), ("extra", "."), ("status", status), ("detail", detail)]
    assert names == [f"  {name:16}" for name, value in ours if value]
    assert len(bare) == 6 + 3 * 2 + len(names)
