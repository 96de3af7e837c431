"""The words that tables and pages share with the code."""

import re
from enum import StrEnum
from pathlib import Path

import pytest

from shared.events import Intent, Reason, Status, Traffic
from shared.outcomes import Outcome, Stage

ROOT = Path(__file__).parents[2]
MIGRATIONS = "\n".join(file.read_text() for file in sorted((ROOT / "workers" / "migrations").glob("*.sql")))


@pytest.mark.parametrize(
    ("column", "words"),
    [("outcome", Outcome), ("stage", Stage), ("status", Status), ("traffic", Traffic), ("intent", Intent)],
)
def test_every_check_of_a_column_has_the_words_of_its_enum(column: str, words: type[StrEnum]) -> None:
    checks = re.findall(rf"CHECK\s*\(\s*{column} IN \(([^)]*)\)", MIGRATIONS)
    assert checks
    for check in checks:
        assert set(re.findall(r"'(\w+)'", check)) == {str(word) for word in words}


def test_the_page_on_providers_has_every_reason_once() -> None:
    page = (ROOT / "docs" / "providers.md").read_text().partition("## Why a message was not delivered")[2]
    assert re.findall(r"^\| `(\w+)` \| \w", page, re.MULTILINE) == [str(reason) for reason in Reason]
