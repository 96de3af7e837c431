"""What an attacker got: its answers, its connections and how much it has sent."""

from collections import Counter
from dataclasses import dataclass, field

from tests.hostile.answers import Reply


@dataclass
class Got:
    """Of one attack. `outcomes` counts status codes, and the words closed, reset, refused and timeout."""

    limit_bytes: int
    outcomes: "Counter[str]" = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)  # of callbacks that were acknowledged
    requests: int = 0  # that the attack counted itself, where each is to be answered
    sent_bytes: int = 0
    error: str = ""  # an error of the attack itself

    def note(self, reply: Reply) -> None:
        self.outcomes[str(reply.status) if reply.status else "no HTTP"] += 1
        if reply.callback_id:
            self.ids.append(reply.callback_id)

    def count(self, outcome: str) -> None:
        self.outcomes[outcome] += 1

    def may_send(self, count: int) -> bool:
        """Whether this number of bytes more is within the limit; counts them then."""
        if self.sent_bytes + count > self.limit_bytes:
            return False
        self.sent_bytes += count
        return True

    def of_status(self, first: int, last: int) -> int:
        """How many answers had a status between these two."""
        return sum(count for word, count in self.outcomes.items() if word.isdecimal() and first <= int(word) <= last)

    def __str__(self) -> str:
        return ", ".join(f"{count} × {word}" for word, count in self.outcomes.most_common()) or "nothing"
