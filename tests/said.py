"""What processes say: lines of JSON, and nothing private in them."""

import json
import re
from collections.abc import Iterable, Iterator

from deploy.local import simulator

KEYS = {"event", "level", "logger", "time"}
# The numbers and texts of `simulator.event`; words that may be in a log for another reason aside.
HANDSET = re.compile(r"4477009\d{5}")
TEXTS = tuple(text for text in simulator.TEXTS if " " in text or not text.isascii())


def not_json(text: str) -> list[str]:
    """The lines of a log that are not as `shared/logs.py` writes an event."""
    return [line for line in text.splitlines() if not _is_event(line)]


def private_in(text: str, more: Iterable[str] = ()) -> Iterator[str]:
    """What of the simulator's numbers and texts, and of what else is named, is in a text: escaped as JSON or not."""
    spelled = text + "".join(_unescaped(line) for line in text.splitlines() if "\\" in line)
    if found := HANDSET.search(spelled):
        yield found[0]
    yield from (word for word in (*TEXTS, *more) if word in spelled)


def _is_event(line: str) -> bool:
    try:
        event = json.loads(line)
    except ValueError:
        return False
    return isinstance(event, dict) and event.keys() >= KEYS


def _unescaped(line: str) -> str:
    try:
        return json.dumps(json.loads(line), ensure_ascii=False)
    except ValueError:
        return ""
