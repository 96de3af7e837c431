"""Plain words: those that were retired stay out of what a person reads, and a name says what its thing is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Write instead: repair; report, show; forever, without limit; the number; nevertheless; what runs at the same time;
# failure, error; is, is stored; unclaimed; make a dead letter. In the tests a program may also say something.
_RETIRED = re.compile(
    r"(?<![a-z])(mend(s|ed|ing)?|tells?|told|for ever|so many|all the same|meanwhile|troubles?|stands?|stood"
    r"|nobody's|bury|buries|buried)(?![a-z])",
    re.IGNORECASE,
)
_ONLY_IN_TESTS = re.compile(r"\b(say(s|ing)?|said|nobody)\b", re.IGNORECASE)
_LEFT = re.compile(r"stands? for|stand[-_]in\w*|stood_in|callbox_mended_total|the same for every", re.IGNORECASE)
_USER_OF_UNIX = re.compile(r"`nobody`|\"nobody\"|nobody (?==)|nobody\.pw_")
_NAMES = {"it", "its", "letter", "letters", "board", "trouble"}


def _files() -> list[Path]:
    folders = ("ingress", "workers", "shared", "deploy", "docs", "tests")
    found = [*ROOT.glob("*.md"), ROOT / "Makefile", *(path for name in folders for path in (ROOT / name).rglob("*"))]
    written = {".md", ".py", ".sql", ".lua", ".toml", ".yaml", ".conf", ".example", ""}
    return [path for path in found if path.is_file() and path.suffix in written and path != Path(__file__)]


def _is_retired(path: Path, line: str) -> bool:
    if _RETIRED.search(_LEFT.sub("", line)):
        return True
    return "tests" not in path.relative_to(ROOT).parts and bool(_ONLY_IN_TESTS.search(_USER_OF_UNIX.sub("", line)))


def _names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The names that a file gives, each with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name.lower()


def test_no_retired_word_is_written() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in _files()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if _is_retired(path, line)
    ]
    assert not found, "\n".join(found)


def test_no_name_is_a_pronoun_or_a_retired_word() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {name}"
        for path in _files()
        if path.suffix == ".py"
        for number, name in _names(ast.parse(path.read_text("utf-8")))
        if name in _NAMES
    ]
    assert not found, "\n".join(found)
