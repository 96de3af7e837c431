"""The fields of one payload, and what their readers left."""

import re
from collections.abc import Iterable, Mapping, Set
from datetime import datetime
from decimal import Decimal
from typing import Any

from shared.errors import Malformed
from shared.payload.decode import charset_in, read_form, read_json, read_parameters
from shared.payload.extra import Budget
from shared.payload.notes import (
    NUMBER_OUT_OF_RANGE,
    NUMBER_UNREADABLE,
    TEXT_REPLACED,
    TEXT_TOO_LONG,
    TEXT_UNREADABLE,
    TIME_UNREADABLE,
    UNDOCUMENTED,
)
from shared.payload.numbers import INTEGER_MAX, to_decimal
from shared.payload.phones import msisdn
from shared.payload.texts import SHORT_TEXT_CHARS, scalar, storable
from shared.payload.times import read_time
from shared.source import Source

UNDOCUMENTED_NOTED = 10  # of one payload, at most
GROUPS = 500  # objects in a list, each an event
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z_.-]{0,39}")  # without digits: a torn payload may have a number here


class Fields:
    """The fields of one payload of a source, in `values` as they were sent. What a reader could use is taken out of
    `extra`."""

    def __init__(self, source: Source, values: Mapping[str, Any], notes: list[str] | None = None) -> None:
        self._source = source
        self.values = dict(values)
        self._used: set[str] = set()
        self._notes = [] if notes is None else notes

    @classmethod
    def from_json(cls, source: Source, body: bytes, *, exactly: bool = False) -> "Fields":
        """As `decode.read_json`."""
        return cls(source, *read_json(body, exactly=exactly))

    @classmethod
    def from_form(
        cls, source: Source, body: bytes, query: str = "", content_type: str = "", *, exactly: bool = False
    ) -> "Fields":
        """As `decode.read_form`."""
        return cls(source, *read_form(body, query, content_type, exactly=exactly))

    @classmethod
    def from_parameters(
        cls, source: Source, parameters: Iterable[tuple[bytes, bytes]], content_type: str = ""
    ) -> "Fields":
        """As `decode.read_parameters`, in the charset that the content type names."""
        return cls(source, *read_parameters(parameters, charset_in(content_type)))

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def names(self) -> set[str]:
        """The names of all fields that are there and not null."""
        return {name for name, value in self.values.items() if value is not None}

    def group(self, name: str) -> "Fields":
        """The fields of the object under this name, none if there is no object; the whole stays in `extra`."""
        return Fields(self._source, _object(self.values.get(name)), self._notes)

    def only(self, name: str, renamed: str) -> "Fields":
        """The field under this name by itself, under another one; the whole stays in `extra`."""
        return Fields(self._source, {renamed: self.values.get(name)})

    def groups(self, name: str, inherited: Set[str]) -> list["Fields"]:
        """The objects in the list under this name, each with these fields of this object where it has none itself
        and they are short. Raises Malformed if they are more than one callback can mean.
        """
        elements = self.values.get(name)
        if isinstance(elements, list) and len(elements) > GROUPS:
            raise Malformed(f"too many {name}", f"{len(elements)}, of at most {GROUPS}")
        texts = {key: scalar(self.values[key]) for key in inherited & self.values.keys()}
        outer = {key: self.values[key] for key, text in texts.items() if text and len(text) <= SHORT_TEXT_CHARS}
        return [
            Fields(self._source, {**outer, **_object(element)}, self._notes.copy())
            for element in (elements if isinstance(elements, list) else [])
        ]

    def note(self, phrase: str) -> None:
        """Adds a phrase to `extra`'s notes: short, the same for the same oddity, without data."""
        if phrase not in self._notes:
            self._notes.append(phrase)

    def text(self, *names: str) -> str | None:
        """The first of these that is there, of any length, as it was sent."""
        for name in names:
            value = self.values.get(name)
            if value is not None:
                text = value if isinstance(value, str) else scalar(value)
                if text is None:
                    self.note(TEXT_UNREADABLE)
                    return None
                self._used.add(name)
                return self._storable(text)
        return None

    def word(self, *names: str) -> str | None:
        """The first of these that is there, trimmed; None if it is blank or too long."""
        return self._short((self.text(*names) or "").strip(), names)

    def identity(self, *names: str) -> str:
        """A word without which there is no event. Raises Malformed."""
        word = self.distinction(*names)
        if word is None:
            raise Malformed(f"no {names[0]}")
        return word

    def distinction(self, *names: str) -> str | None:
        """A word that distinguishes events where it is there: a part of their keys. Raises Malformed if it is too long
        or holds what cannot be stored, for then another one may look the same."""
        word = (self.text(*names) or "").strip()
        if len(word) > SHORT_TEXT_CHARS:
            raise Malformed(f"{names[0]} too long", f"{len(word)} characters")
        if "\ufffd" in word:
            raise Malformed(f"{names[0]} unreadable", "it holds characters that cannot be stored")
        return word or None

    def phone(self, *names: str) -> str | None:
        """A phone number, short code or sender name, as `msisdn` gives it; None if it is too long."""
        return self._short(msisdn(self.text(*names) or "", self._source.a2p_max_digits), names)

    def integer(self, name: str, highest: int = INTEGER_MAX) -> int | None:
        """A whole number from 0 to `highest`; None for another one."""
        sent = self.values.get(name)
        if type(sent) is int and 0 <= sent <= highest:  # nearly always, and quickly seen
            self._used.add(name)
            return sent
        number = self._number(name)
        if number is None:
            return None
        if number == number.to_integral_value() and 0 <= number <= highest:
            return int(number)
        self._leave(NUMBER_OUT_OF_RANGE if number == number.to_integral_value() else NUMBER_UNREADABLE, name)
        return None

    def decimal(self, name: str) -> Decimal | None:
        """A number as it was written; None if it is not finite or has too many digits."""
        return self._number(name)

    def time(self, name: str) -> datetime | None:
        """A time in UTC; one without a zone is in that of the source, and its text stays in `extra`."""
        value = self.values.get(name)
        if value is None or value == "":
            return None
        time, exact = read_time(value, self._source.timezone) if isinstance(value, str) else (None, False)
        if time is None:
            self.note(TIME_UNREADABLE)
        elif exact:
            self._used.add(name)
        return time

    def rest(self, documented: Set[str], *kept: str, **ours: Any) -> dict[str, Any]:
        """An event's `extra`: what no reader took, the fields named here, `ours` where not None, and the notes.

        A field that the provider does not document is noted by its name: so a new format is noticed.
        """
        undocumented = self.names() - documented
        for name in sorted(undocumented)[:UNDOCUMENTED_NOTED] if undocumented else ():
            self.note(f"{UNDOCUMENTED} {name}" if _FIELD_NAME.fullmatch(name) else UNDOCUMENTED)
        budget = Budget()
        extra: dict[str, Any] = {}
        for name, value in self.values.items():
            if value is not None and (name in kept or name not in self._used):
                extra[budget.text("sent_notes" if name == "notes" else name)] = budget.value(value)
        extra |= {name: value for name, value in ours.items() if value is not None}
        for phrase in budget.notes:
            self.note(phrase)
        if self._notes:
            extra["notes"] = list(self._notes)
        return extra

    def _storable(self, text: str) -> str:
        stored = storable(text)
        if stored != text:
            self.note(TEXT_REPLACED)
        return stored

    def _short(self, text: str, names: Iterable[str]) -> str | None:
        if len(text) <= SHORT_TEXT_CHARS:
            return text or None
        self._leave(TEXT_TOO_LONG, *names)
        return None

    def _leave(self, phrase: str, *names: str) -> None:
        """Leaves in `extra` what its column cannot take, with a note."""
        self.note(phrase)
        self._used.difference_update(names)

    def _number(self, name: str) -> Decimal | None:
        value = self.values.get(name)
        if value is None or value == "":
            return None
        try:
            number = to_decimal(value)
        except OverflowError:
            self._leave(NUMBER_OUT_OF_RANGE, name)
            return None
        if number is None:
            self._leave(NUMBER_UNREADABLE, name)
            return None
        self._used.add(name)
        return number


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
