"""Every case of every provider: the request as it comes in, what proves it, and the events in it.

A case names every field of its events that is not the default; `extra` is compared where the case gives it, its notes
always.
"""

from typing import Any

import msgspec
import pytest

from shared.errors import Malformed, Rejected
from shared.events import Event
from tests.providers.support import NOW, callback_of, cases, event_in, prove, read, request_in, source_in

CASES = [pytest.param(provider, case, id=f"{provider}: {case['name']}") for provider, case in cases()]


@pytest.mark.parametrize(("provider", "case"), CASES)
def test_case(provider: str, case: dict[str, Any]) -> None:
    assert case.keys() <= {
        "name", "source", "received_at", "method", "path", "query", "headers", "body", "body_hex",
        "proof", "rejected", "malformed", "event",
    }  # fmt: skip
    source = source_in(provider, case)
    callback = callback_of(provider, request_in(case), case.get("received_at", NOW))
    if "rejected" in case:
        with pytest.raises(Rejected) as refusal:
            prove(callback, source)
        assert refusal.value.reason == case["rejected"]
        return
    assert prove(callback, source) == case.get("proof", "unsigned")
    found = read(callback, source)
    expected = case.get("event", [])
    if "malformed" in case:
        expected = [{"malformed": case["malformed"]}]
    assert [said(event, table) for event, table in zip(found, expected, strict=True)] == [
        wanted(table) for table in expected
    ]


def said(found: Event | Malformed, table: dict[str, Any]) -> dict[str, Any]:
    """What was found, as far as the case has it."""
    if isinstance(found, Malformed):
        return {"malformed": found.reason}
    fields = {"kind": type(found).__name__, **msgspec.structs.asdict(found)}
    fields["notes"] = fields["extra"].pop("notes", []) if "extra" in fields else []
    if "extra" not in table:
        del fields["extra"]
    return fields


def wanted(table: dict[str, Any]) -> dict[str, Any]:
    if "malformed" in table:
        return {"malformed": table["malformed"]}
    event = event_in(table)
    fields = {"kind": type(event).__name__, **msgspec.structs.asdict(event), "notes": table.get("notes", [])}
    if "extra" not in table:
        del fields["extra"]
    return fields
