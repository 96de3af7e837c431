"""Lenient readers of what providers send: JSON and forms, and in them texts, numbers, times and phone numbers.

Two rules hold for all: what is read is safe for PostgreSQL and within its bounds, and what cannot be read stays in
`extra` with a note, unless the event makes no sense without it; then it is a Malformed. Nothing else is raised,
whatever the bytes.
"""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping, Set
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from shared.errors import Malformed
from shared.form import Form
from shared.source import A2P_MAX_DIGITS

SHORT_TEXT_CHARS = 255  # ids, addresses, status words: what stands in an index or a key
INTEGER_MAX = 2**31 - 1  # PostgreSQL's integer
SMALLINT_MAX = 2**15 - 1
DECIMAL_DIGITS = 20  # before and after the point
UNDOCUMENTED_NOTED = 10  # of one payload, at most
GROUPS = 500  # objects in a list, each an event
EXTRA_DEPTH = 16
EXTRA_VALUES = 1000
EXTRA_TEXT_CHARS = 4096
E164_DIGITS = 15  # ITU-T E.164, 6.2.1

TEXT_REPLACED = "text replaced"
TIME_UNREADABLE = "unreadable time"
NUMBER_UNREADABLE = "unreadable number"
TEXT_UNREADABLE = "unreadable text"
EXTRA_CUT = "extra cut"
UNDOCUMENTED = "undocumented field"
STATUS_UNKNOWN = "unknown status"
STATUS_CONTRADICTED = "status contradicts text"

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z_.-]{0,39}")  # without digits: a torn payload may have a number here
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_NOT_FINITE = re.compile(r"[+-]?(?:s?nan[0-9]*|inf(?:inity)?)", re.IGNORECASE)
_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?"
    r" ?(?:([Zz])|([+-])([0-9]{2}):?([0-9]{2})?)?"
)
_FULL_NUMBER = re.compile(rf"\+[1-9][0-9]{{{A2P_MAX_DIGITS},{E164_DIGITS - 1}}}")
_YEARS = range(1970, 9999)  # earlier ones are fillers, later ones overflow on their way to another zone


class Fields:
    """The fields of one payload, in `values` as they were sent. What a reader could use is taken out of `extra`."""

    def __init__(self, values: Mapping[str, Any], notes: list[str] | None = None) -> None:
        self.values = dict(values)
        self._used: set[str] = set()
        self._notes = [] if notes is None else notes

    @classmethod
    def from_json(cls, body: bytes, *, exactly: bool = False) -> "Fields":
        """The members of a JSON object. Raises Malformed; `exactly`, also for bytes that are not UTF-8 and for a name
        that is there twice."""
        notes: list[str] = []
        values = _decode_json(_decode_text(body, "utf-8-sig", notes), _exact_decoder if exactly else _decoder)
        if not isinstance(values, dict):
            raise Malformed("not a JSON object", f"the JSON is a {type(values).__name__}")
        if exactly and notes:
            raise Malformed("not JSON", "bytes that are not UTF-8")
        return cls(values, notes)

    @classmethod
    def from_form(cls, body: bytes, query: str = "", *, exactly: bool = False) -> "Fields":
        """The parameters of a form and of a query string, the form's first. Raises Malformed; `exactly`, also where
        readers may differ: in escapes, bytes that are not UTF-8, or a parameter with two values."""
        body = body.removeprefix(BOM_UTF8)
        forms = [Form(data.strip(b"\r\n")) for data in (body, query.encode("utf-8", "surrogatepass")) if data]
        parameters = [pair for form in forms for pair in form.parameters(exactly=exactly)]
        if exactly:
            _check_that_readers_agree(parameters)
        return cls.from_parameters(parameters)

    @classmethod
    def from_parameters(cls, parameters: Iterable[tuple[bytes, bytes]]) -> "Fields":
        """Decoded parameters; of those with one name, the first that is not blank."""
        notes: list[str] = []
        values: dict[str, str] = {}
        for raw_name, raw_value in parameters:
            name = _decode_text(raw_name, "utf-8", notes)
            if not values.get(name):
                values[name] = _decode_text(raw_value, "utf-8", notes)
        return cls(values, notes)

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def names(self) -> set[str]:
        """The names of all fields that are there and not null."""
        return {name for name, value in self.values.items() if value is not None}

    def group(self, name: str) -> "Fields":
        """The fields of the object under this name, none if there is no object; the whole stays in `extra`."""
        return Fields(_object(self.values.get(name)), self._notes)

    def groups(self, name: str, inherited: Set[str]) -> list["Fields"]:
        """The objects in the list under this name, each with these fields of this object where it has none itself
        and they are short. Raises Malformed if they are more than one callback can mean.
        """
        elements = self.values.get(name)
        if isinstance(elements, list) and len(elements) > GROUPS:
            raise Malformed(f"too many {name}", f"{len(elements)}, of at most {GROUPS}")
        texts = {key: _scalar(self.values[key]) for key in inherited & self.values.keys()}
        outer = {key: self.values[key] for key, text in texts.items() if text and len(text) <= SHORT_TEXT_CHARS}
        return [
            Fields({**outer, **_object(element)}, self._notes.copy())
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
                text = _scalar(value)
                if text is None:
                    self.note(TEXT_UNREADABLE)
                    return None
                self._used.add(name)
                return self._storable(text)
        return None

    def word(self, *names: str) -> str | None:
        """The first of these that is there, trimmed; None if it is blank. Raises Malformed if it is too long."""
        return self._short(names[0], (self.text(*names) or "").strip())

    def identity(self, *names: str) -> str:
        """A word without which there is no event. Raises Malformed."""
        word = self.word(*names)
        if word is None:
            raise Malformed(f"no {names[0]}")
        if "\ufffd" in word:  # another one may look the same
            raise Malformed(f"{names[0]} unreadable", "it holds characters that cannot be stored")
        return word

    def phone(self, *names: str, a2p_max_digits: int) -> str | None:
        """A phone number, short code or sender name, as `msisdn` gives it. Raises Malformed if it is too long."""
        return self._short(names[0], msisdn(self.text(*names) or "", a2p_max_digits))

    def integer(self, name: str, highest: int = INTEGER_MAX) -> int | None:
        """A whole number from 0 to `highest`. Raises Malformed for another one."""
        number = self._number(name)
        if number is None:
            return None
        if number != number.to_integral_value():
            self._used.discard(name)
            self.note(NUMBER_UNREADABLE)
            return None
        if not 0 <= number <= highest:
            raise Malformed("number out of range", name)
        return int(number)

    def decimal(self, name: str) -> Decimal | None:
        """A number as it was written. Raises Malformed if it is not finite or has too many digits."""
        return self._number(name)

    def time(self, name: str, zone: ZoneInfo) -> datetime | None:
        """A time in UTC; `zone` is that of times without one, whose text stays in `extra`."""
        value = self.values.get(name)
        if value is None or value == "":
            return None
        time, exact = read_time(value, zone) if isinstance(value, str) else (None, False)
        if time is None:
            self.note(TIME_UNREADABLE)
        elif exact:
            self._used.add(name)
        return time

    def rest(self, documented: Set[str], *kept: str, **ours: Any) -> dict[str, Any]:
        """An event's `extra`: what no reader took, the fields named here, `ours` where not None, and the notes.

        A field that the provider does not document is noted by its name: so a new format is heard of.
        """
        for name in sorted(self.names() - documented)[:UNDOCUMENTED_NOTED]:
            self.note(f"{UNDOCUMENTED} {name}" if _FIELD_NAME.fullmatch(name) else UNDOCUMENTED)
        budget = _Budget()
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

    def _short(self, name: str, text: str) -> str | None:
        if len(text) > SHORT_TEXT_CHARS:
            raise Malformed(f"{name} too long", f"{len(text)} characters")
        return text or None

    def _number(self, name: str) -> Decimal | None:
        value = self.values.get(name)
        if value is None or value == "":
            return None
        number = _to_decimal(value, name)
        if number is None:
            self.note(NUMBER_UNREADABLE)
            return None
        self._used.add(name)
        return number


def storable(text: str) -> str:
    """The text without NUL and lone surrogates, which PostgreSQL's text and jsonb refuse: U+FFFD instead."""
    if text.isascii() and "\0" not in text:  # nearly always, and quickly seen
        return text
    return _UNSTORABLE.sub("\ufffd", text)


def msisdn(text: str, a2p_max_digits: int) -> str:
    """A phone number in E.164 with `+`, if it is a full one; short codes and names trimmed, else as they are.

    A number is full with more than `a2p_max_digits` digits. A leading space is a `+` that a form has eaten; `00` is
    the international prefix. For providers that document a country code in every full number.
    """
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()):
        return digits
    if text[0] == " ":
        return f"+{digits}"
    subscriber = digits.removeprefix("00")
    if a2p_max_digits < len(subscriber) <= E164_DIGITS and subscriber[0] != "0":
        return f"+{subscriber}"
    return digits


def without_plus(number: str) -> str:
    """A full number as many providers write it, from which `msisdn` makes this one again."""
    return number[1:] if _FULL_NUMBER.fullmatch(number) else number


def read_time(text: str, zone: ZoneInfo) -> tuple[datetime | None, bool]:
    """An ISO 8601 date and time, in UTC, and whether it named its zone; None if the text is no such time."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None, False
    year, month, day, hour, minute, second, fraction, zulu, sign, hours, minutes = found.groups()
    try:
        time = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0))
        time += timedelta(microseconds=int((fraction or "0")[:6].ljust(6, "0")))
        if sign:
            offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
            time = time.replace(tzinfo=timezone(-offset if sign == "-" else offset))
        else:
            time = time.replace(tzinfo=UTC if zulu else zone)
        time = time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None, False
    return (time, bool(zulu or sign)) if time.year in _YEARS else (None, False)


def _decode_text(data: bytes, encoding: str, notes: list[str]) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        if TEXT_REPLACED not in notes:
            notes.append(TEXT_REPLACED)
        return data.decode(encoding, "replace")


def _check_that_readers_agree(parameters: list[tuple[bytes, bytes]]) -> None:
    try:
        b"\0".join([part for pair in parameters for part in pair]).decode()
    except UnicodeDecodeError:
        raise Malformed("unreadable form", "bytes that are not UTF-8") from None
    said = {(name, value) for name, value in parameters if value}
    if len({name for name, _ in said}) < len(said):
        raise Malformed("unreadable form", "a parameter with two values")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _refuse_repetition(members: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(members)) < len(members):
        raise Malformed("not JSON", "a name that is there twice")
    return dict(members)


# Not strict: a raw line break or NUL within a string is readable, if wrong.
_decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant, strict=False)
_exact_decoder = json.JSONDecoder(
    parse_float=Decimal, parse_constant=_refuse_constant, strict=False, object_pairs_hook=_refuse_repetition
)


def _decode_json(text: str, decoder: json.JSONDecoder) -> Any:
    text = text.strip(" \t\r\n")
    if not text:
        raise Malformed("empty body")
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        raise Malformed("not JSON", f"{error.msg.removesuffix(' at')} at character {error.pos}") from None
    except RecursionError:
        raise Malformed("not JSON", "nested too deeply") from None
    except (ValueError, ArithmeticError):
        raise Malformed("not JSON", "a number that is none") from None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _scalar(value: object) -> str | None:
    """A text or number as text, a whole number without a fraction; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return None
    if isinstance(value, Decimal) and value.adjusted() <= DECIMAL_DIGITS and value == value.to_integral_value():
        return str(int(value))
    return str(value) if isinstance(value, int | Decimal) else None


def _to_decimal(value: object, name: str) -> Decimal | None:
    """The exact number, None if it is none. Raises Malformed if it is out of bounds."""
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER.fullmatch(text):
            if _NOT_FINITE.fullmatch(text):
                raise Malformed("number out of range", name)
            return None
        value = Decimal(text)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    number = Decimal(value)
    exponent = number.as_tuple().exponent
    if number.adjusted() >= DECIMAL_DIGITS or not isinstance(exponent, int) or exponent < -DECIMAL_DIGITS:
        raise Malformed("number out of range", name)
    return number


class _Budget:
    """Turns sent values into what jsonb can hold, and stops where they go too deep or get too many."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._left = EXTRA_VALUES

    def value(self, value: object, depth: int = 0) -> Any:
        self._left -= 1
        if self._left < 0 or depth > EXTRA_DEPTH:
            self.notes.append(EXTRA_CUT)
            return None
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.value(inner, depth + 1) for name, inner in self._some(value.items())}
        if isinstance(value, list):
            return [self.value(inner, depth + 1) for inner in self._some(value)]
        if isinstance(value, Decimal) or (isinstance(value, int) and not -(2**63) <= value < 2**63):
            return self.text(str(value))
        return value

    def text(self, text: str) -> str:
        if len(text) > EXTRA_TEXT_CHARS:
            self.notes.append(EXTRA_CUT)
            text = text[:EXTRA_TEXT_CHARS]
        stored = storable(text)
        if stored != text:
            self.notes.append(TEXT_REPLACED)
        return stored

    def _some(self, values: Iterable[Any]) -> Iterable[Any]:
        """The values while there is budget for them."""
        for value in values:
            if self._left <= 0:
                self.notes.append(EXTRA_CUT)
                return
            yield value
