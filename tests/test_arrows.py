"""The arrows of the design: deploy → ingress, workers → shared; what may import what, read from the sources."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "shared": {"starlette", "uvicorn", "celery", "kombu", "psycopg", "ingress", "workers", "deploy"},
    "ingress": {"celery", "kombu", "psycopg", "workers", "deploy"},
    "workers": {"starlette", "uvicorn", "ingress", "deploy"},
    "deploy": set[str](),
}


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module or ""


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_package_imports_against_the_arrows(package: str) -> None:
    for file in files(package):
        against = {name.partition(".")[0] for name in imports(file)} & FORBIDDEN[package]
        assert not against, f"{file} imports {against}"


def test_nothing_in_shared_but_the_composition_roots_imports_the_providers() -> None:
    for file in files("shared"):
        if "providers" not in file.parts:
            assert not [name for name in imports(file) if name.startswith("shared.providers")], file


def test_no_provider_imports_another() -> None:
    names = {file.stem for file in files("shared/providers")} - {"__init__"}
    for file in files("shared/providers"):
        others = {f"shared.providers.{name}" for name in names}
        assert not others & set(imports(file)), file


# What speaks to a library's outside, and to nothing else: each where the reader expects it.
CONFINED = {
    "hmac": ["shared/signing.py"],
    "jwt": ["shared/signing.py"],
    "redis": ["shared/inbox/"],
    "psycopg": [
        *(
            "workers/connection.py",
            "workers/database.py",
            "workers/demands.py",
            "workers/queries.py",
            "workers/rows.py",
            "workers/schema.py",
        ),
        # They report why PostgreSQL does not answer.
        *("deploy/checks.py", "deploy/commands/errors.py", "deploy/local/up.py", "deploy/system.py"),
        *("deploy/commands/send.py", "deploy/commands/status.py", "deploy/commands/tail.py", "deploy/top/readings.py"),
    ],
    "celery": ["workers/app.py", "workers/__main__.py", "workers/beat.py", "workers/programs.py"],
    "tornado": ["workers/programs.py"],
    "opentelemetry": ["shared/spans.py"],
    "kombu": ["workers/broker.py"],
    "rich": [
        *("deploy/output.py", "deploy/table.py", "deploy/commands/status.py", "deploy/commands/top.py"),
        *("deploy/top/page.py", "deploy/top/screen.py"),
    ],
}
DRAIN = ("run", "intake", "read", "holds", "store", "settle", "drainer")  # in the order of the loop


@pytest.mark.parametrize("module", CONFINED)
def test_a_library_is_imported_where_it_belongs_and_nowhere_else(module: str) -> None:
    for package in FORBIDDEN:
        for file in files(package):
            if module in {name.partition(".")[0] for name in imports(file)}:
                path = file.relative_to(ROOT).as_posix()
                assert any(path.startswith(place) for place in CONFINED[module]), f"{path} imports {module}"


def test_only_the_callback_knows_the_packed_form() -> None:
    users = [file.name for package in FORBIDDEN for file in files(package) if "msgpack" in file.read_text()]
    assert users == ["callback.py"]


def test_no_step_of_the_drain_imports_a_later_one() -> None:
    for number, step in enumerate(DRAIN):
        later = {f"workers.drain.{name}" for name in DRAIN[number + 1 :]}
        against = later & set(imports(ROOT / "workers" / "drain" / f"{step}.py"))
        assert not against, f"{step} imports {against}"
