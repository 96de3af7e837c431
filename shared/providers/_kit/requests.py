"""The requests that a provider makes, and how it writes what is in them."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any
from urllib.parse import urlencode

from shared.callback import Request

_WHOLE = re.compile(r"0|[1-9][0-9]{0,18}")


def json_request(document: Mapping[str, Any], method: str = "POST") -> Request:
    """The request with the document as JSON."""
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=str).encode()
    return Request(method=method, headers={"content-type": "application/json"}, body=body)


def form_request(fields: Mapping[str, Any]) -> Request:
    """The request with the fields as a form, by POST."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return Request(method="POST", headers=headers, body=urlencode(fields).encode())


def without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def time_text(time: datetime | None, form: str, zone: tzinfo = UTC) -> str | None:
    """The time in the zone, in a form of `strftime`."""
    return None if time is None else time.astimezone(zone).strftime(form)


def number_if_whole(text: str) -> int | str:
    """The text as the number that providers write without quotation marks, if it is one of up to 19 digits."""
    return int(text) if _WHOLE.fullmatch(text) else text
