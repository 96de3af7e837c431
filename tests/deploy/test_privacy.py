"""What commands show of private fields."""

from types import ModuleType
from typing import Any

import msgspec
import pytest

from deploy.privacy import NUMBERS, TEXTS, masked, shown
from workers import find, follow, queries, repeats

# Every other field of a row: ids, words of a fixed list, times, counts, and what we wrote about a callback.
OPEN = set(
    """age attempts callback_id channel conflict created_at currency detail encoding error_code final first_report_at
    headers id inbox_id intent item kind message_id method occurred_at outcome part_count part_number part_reference
    parts price provider provider_status read_at reason received_at remote_ip reports segments sent_at source stage
    state status stored_by test traceparent traffic updated_at""".split()
)


@pytest.mark.parametrize("module", [queries, find, follow, repeats])
def test_every_field_of_a_row_is_open_a_number_or_a_text(module: ModuleType) -> None:
    rows = [kind for name, kind in vars(module).items() if name.startswith("Found") or name.endswith("Row")]
    for kind in rows:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            fields = {field.name for field in msgspec.structs.fields(kind)}
            assert fields <= OPEN | NUMBERS | TEXTS, kind


@pytest.mark.parametrize(
    ("address", "seen"),
    [
        ("+447700988340", "+447…40"),
        ("447700988340", "4477…40"),
        ("1234567", "1…67"),
        ("12345678", "12…78"),
        ("12345", "12345"),
        ("ACME", "ACME"),
        ("someone@example.com", "some…om"),
        ("messenger:1234567890", "mess…90"),
    ],
)
def test_a_number_keeps_its_ends_and_what_is_no_persons_is_shown(address: str, seen: str) -> None:
    assert masked(address) == seen


def test_private_fields_are_masked_wherever_they_are_unless_asked_for() -> None:
    row: dict[str, Any] = {"sender": "+447700988340", "recipient": None, "text": "hello", "source": "fleet"}
    nested = {"messages": [row], "callback": {"body": b"raw", "query": "a=1"}}
    assert shown(nested, reveal=False) == {
        "messages": [{"sender": "+447…40", "recipient": None, "text": None, "source": "fleet"}],
        "callback": {"body": None, "query": None},
    }
    assert shown(nested, reveal=True) == nested
