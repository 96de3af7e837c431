"""The fields of a payload, the objects in them, and what is left for `extra`."""

import json
from decimal import Decimal
from typing import Any

import pytest

from shared.errors import Malformed
from shared.payload import Fields, extra
from shared.payload import fields as payload_fields
from tests.shared.payload.support import SOURCE, of


def test_the_first_name_that_is_there() -> None:
    fields = Fields(SOURCE, {"a": None, "b": "2", "c": "3"})
    assert fields.text("a", "b", "c") == "2"
    assert fields.rest(fields.names()) == {"c": "3"}


def test_rest_is_safe_for_jsonb() -> None:
    fields = of({"a\0": ["\ud800", 2**63, -(2**63), Decimal("1.50"), True, None], "b": 2**63 - 1})
    assert fields.rest(fields.names()) == {
        "x": {"a\ufffd": ["\ufffd", "9223372036854775808", -(2**63), "1.50", True, None], "b": 2**63 - 1},
        "notes": ["text replaced"],
    }


def test_rest_is_bounded_in_depth() -> None:
    deep: Any = "end"
    for _ in range(500):
        deep = [deep]
    fields = of(deep)
    rest = fields.rest(fields.names())
    assert rest["notes"] == ["extra cut"]
    assert json.dumps(rest["x"]).count("[") == extra.EXTRA_DEPTH + 1


def test_rest_is_bounded_in_size() -> None:
    fields = of([["y"] * 100_000, "z" * 100_000])
    rest = fields.rest(fields.names())
    assert rest["notes"] == ["extra cut"]
    assert len(json.dumps(rest)) < 10 * extra.EXTRA_VALUES
    long = of("z" * 100_000).rest({"x"})
    assert long == {"x": "z" * extra.EXTRA_TEXT_CHARS, "notes": ["extra cut"]}


def test_a_field_called_notes_does_not_hide_ours() -> None:
    fields = Fields(SOURCE, {"notes": "theirs"})
    fields.note("ours")
    fields.note("ours")
    assert fields.rest(fields.names()) == {"sent_notes": "theirs", "notes": ["ours"]}


def test_groups_stay_whole_and_share_the_notes() -> None:
    fields = of({"id": "5\0"})
    assert fields.group("x").word("id") == "5\ufffd"
    assert fields.rest(fields.names()) == {"x": {"id": "5\ufffd"}, "notes": ["text replaced"]}
    assert of("5").group("x").names() == set()


def test_groups_inherit_what_they_lack() -> None:
    fields = Fields(SOURCE, {"to": "1", "id": "outer", "list": [{"id": "a"}, 7]})
    assert [group.values for group in fields.groups("list", {"to", "id"})] == [
        {"to": "1", "id": "a"},
        {"to": "1", "id": "outer"},
    ]


def test_ours_are_added_where_there_is_something() -> None:
    fields = Fields(SOURCE, {"a": "1", "b": None, "c": "3"})
    fields.text("a")
    fields.text("c")
    assert fields.rest(fields.names(), "c", ours=1, not_ours=None) == {"c": "3", "ours": 1}


def test_what_objects_in_a_list_take_over_is_bounded() -> None:
    outer = {"to": "+1", "channel": "sms", "long": "y" * 4096, "deep": [1], "object": {}, "other": 1}
    inherited = outer.keys() - {"other"}
    (fields,) = Fields(SOURCE, {**outer, "statuses": [{"a": 1, "channel": "viber"}]}).groups("statuses", inherited)
    assert fields.values == {"a": 1, "channel": "viber", "to": "+1"}


def test_more_objects_than_one_callback_can_mean_are_malformed() -> None:
    with pytest.raises(Malformed, match="too many statuses"):
        Fields(SOURCE, {"statuses": [0] * (payload_fields.GROUPS + 1)}).groups("statuses", set())
