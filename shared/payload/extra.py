"""An event's `extra`: sent values as jsonb can hold them, up to a budget."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from shared.payload.notes import EXTRA_CUT, TEXT_REPLACED
from shared.payload.texts import storable

EXTRA_DEPTH = 16
EXTRA_VALUES = 1000
EXTRA_TEXT_CHARS = 4096


class Budget:
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
        if isinstance(value, dict):
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
