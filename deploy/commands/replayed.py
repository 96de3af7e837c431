"""What a replay did to dead letters, for programs and for people."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deploy.output import write, write_table
from deploy.table import table
from workers.replay import Change


@dataclass
class Replayed:
    """What a replay did."""

    dry: bool
    closed: Mapping[int, str]  # ids that were asked for and are not open → their state
    callbacks: int = 0
    changes: Counter[Change] = field(default_factory=Counter)

    def add(self, changes: Sequence[Change]) -> None:
        """Counts what became of the open dead letters of one callback."""
        self.callbacks += bool(changes)
        self.changes.update(changes)

    def document(self) -> dict[str, Any]:
        """All of it for programs."""
        changed = [
            {"reason": change.reason, "became": change.became, "letters": count}
            for change, count in sorted(self.changes.items())
        ]
        return {"dry": self.dry, "callbacks": self.callbacks, "letters": changed, "closed": self.closed}

    def show(self, is_whole: bool) -> None:
        rows = [(count, *change) for change, count in sorted(self.changes.items())]
        show_counts(("dead letters", "reason", "became"), rows, self.closed, self._sentence() if is_whole else None)

    def _sentence(self) -> str:
        callbacks = f"{self.callbacks} callback{'' if self.callbacks == 1 else 's'}"
        return f"dry run, nothing was changed: {callbacks} would be replayed" if self.dry else f"{callbacks} replayed"


def show_counts(
    headings: Sequence[str], rows: Sequence[Sequence[object]], closed: Mapping[int, str], done: str | None
) -> None:
    """What was not open, the counts, and the sentence that ends a command that was not interrupted."""
    write(*(f"{id} is {state} already" for id, state in sorted(closed.items())))
    if rows:
        write_table(table(headings, rows))
    if done:
        write(done if rows else "no open dead letters match")
