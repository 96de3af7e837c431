"""A provider's words for the state of a message, read and written by one table."""

from collections.abc import Mapping
from typing import NamedTuple

from shared.events import DeliveryReport, Reason, Status
from shared.payload import Fields
from shared.payload.notes import STATUS_UNKNOWN


class Meaning(NamedTuple):
    """What a word or code means for a message: its state, why, and whether a person has seen it."""

    status: Status
    reason: Reason | None = None
    read: bool = False

    def refined(self, by: "Status | Reason | Meaning | None") -> "Meaning":
        """This meaning, with what an error code adds to it: another state, a reason, or both."""
        if isinstance(by, Status):
            return Meaning(by)
        if isinstance(by, Reason):
            return self._replace(reason=by)
        return by or self


class Statuses:
    """Words, or codes, with their meanings. Of several words with one meaning the first is written."""

    def __init__(self, meanings: Mapping[str, Status | Meaning]) -> None:
        self._meanings = {
            word: meaning if isinstance(meaning, Meaning) else Meaning(meaning) for word, meaning in meanings.items()
        }

    def __contains__(self, word: object) -> bool:
        return word in self._meanings

    def __getitem__(self, word: str) -> Meaning:
        return self._meanings[word]

    def read(self, word: str, fields: Fields) -> Meaning:
        """The word's meaning. One that is not in the table means UNKNOWN, and the fields get a note."""
        if word not in self._meanings:
            fields.note(STATUS_UNKNOWN)
        return self._meanings.get(word, Meaning(Status.UNKNOWN))

    def word(self, event: DeliveryReport) -> str | None:
        """The first word for the event's whole meaning, else the first for its status; None without either."""
        whole = Meaning(event.status, event.reason, event.read)
        words = [word for word, meaning in self._meanings.items() if meaning == whole]
        words += [word for word, meaning in self._meanings.items() if meaning.status is event.status]
        return words[0] if words else None
