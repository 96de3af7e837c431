"""docs/hostile.md, and the summary for whoever runs it."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.hostile.count import Count
from tests.hostile.row import Row


@dataclass
class Report:
    """What a run found."""

    seed: int
    seconds: float
    rows: list[Row]
    count: Count

    def misses(self) -> Iterator[str]:
        """A line for each criterion that something misses."""
        for row in self.rows:
            for miss in row.misses():
                yield f"{row.name}: {miss}"
        yield from self.count.wrong

    def summary(self) -> str:
        misses = list(self.misses())
        lines = [f"{self.count.acknowledged} acknowledged, {self.count.rows} rows in `callbacks`"]
        lines += [f"  MISSED  {miss}" for miss in misses]
        lines.append(f"{len(misses)} criteria missed" if misses else "every criterion met")
        return "\n".join(lines)
