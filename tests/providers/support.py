"""What the tests of all providers share: callbacks, sources, and the cases in `<provider>.toml`."""

import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from shared.callback import Callback, Request
from shared.config import Source
from shared.events import DeliveryReport, Event, InboundMessage, Status
from shared.providers import PROVIDERS

NOW = datetime(2024, 5, 1, tzinfo=UTC)


def source_of(provider: str, **keys: Any) -> Source:
    keys["secrets"] = tuple(keys.get("secrets", ()))
    zone = ZoneInfo(keys.pop("timezone", PROVIDERS[provider].TIMEZONE))
    return Source("test", provider, timezone=zone, **keys)


def callback_of(provider: str, request: Request, received_at: datetime = NOW) -> Callback:
    return Callback(
        id=UUID(int=7 << 76 | 2 << 62),
        source="test",
        provider=provider,
        received_at=received_at,
        method=request.method,
        query=request.query,
        headers=dict(request.headers),
        body=request.body,
    )


def kept(callback: Callback) -> Callback:
    """The callback as `parse` gets it."""
    return callback.kept(PROVIDERS[callback.provider].HEADERS)


def tables(provider: str) -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name(f"{provider}.toml").read_text("utf-8"))


def cases() -> Iterator[tuple[str, dict[str, Any]]]:
    for provider in PROVIDERS:
        for case in tables(provider)["case"]:
            yield provider, case


def request_in(case: dict[str, Any]) -> Request:
    body = bytes.fromhex(case["body_hex"]) if "body_hex" in case else case.get("body", "").encode()
    return Request(
        method=case.get("method", "POST"),
        query=case.get("query", ""),
        headers={"content-type": "application/json", **case.get("headers", {})},
        body=body,
    )


def event_in(table: dict[str, Any]) -> Event:
    """The event of a case. In a key, `false` stands for None, which TOML lacks."""
    said = {name: value for name, value in table.items() if name != "notes"}
    said["key"] = tuple(part or None for part in said["key"])
    if "price" in said:
        said["price"] = Decimal(said["price"])
    if said["key"][0] == "mo":
        return InboundMessage(**said)
    return DeliveryReport(**{**said, "status": Status(said["status"])})
