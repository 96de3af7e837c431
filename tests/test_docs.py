"""The pages: what they name exists, and what the code cites is in them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("shared", "ingress", "workers", "deploy")
GENERATED = {"benchmarks.md", "capacity.md", "failover.md", "faults.md", "hostile.md"}
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in GENERATED),
]

_PATH = re.compile(r"`((?:shared|ingress|workers|deploy|docs|tests)/[\w./-]*)(?:::(\w+))?")
_LINK = re.compile(r"\]\(([\w./-]+)(?:#[\w-]+)?\)")


def paths(page: Path) -> Iterator[tuple[str, str]]:
    """Files in backquotes, each with the function named after it; without placeholders such as NAME.py."""
    for path, function in _PATH.findall(page.read_text(encoding="utf-8")):
        if not re.search(r"NAME|NNNN", path):
            yield path, function


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_test_that_a_page_names_exists(page: Path) -> None:
    for path, function in paths(page):
        assert (ROOT / path).exists(), path
        assert not function or f"def {function}(" in (ROOT / path).read_text(encoding="utf-8"), function
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


def test_every_promise_that_is_cited_is_defined() -> None:
    sources = [file for package in PACKAGES for file in (ROOT / package).rglob("*") if file.suffix in (".py", ".sql")]
    cited = {promise for file in [*sources, *PAGES] for promise in re.findall(r"\bP\d\b", file.read_text("utf-8"))}
    defined = re.findall(r"^\*\*(P\d) ", (ROOT / "docs" / "architecture.md").read_text("utf-8"), re.MULTILINE)
    assert cited == set(defined)
    assert len(defined) == len(set(defined))


def test_every_promise_names_a_test() -> None:
    _, *promises = re.split(r"^\*\*P\d ", (ROOT / "docs" / "architecture.md").read_text("utf-8"), flags=re.MULTILINE)
    assert promises
    for promise in promises:
        assert "Proof:" in promise
        assert "`tests/" in promise
