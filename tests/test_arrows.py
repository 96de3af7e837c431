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


@pytest.mark.parametrize("module", ["hmac", "jwt"])
def test_only_signing_imports_it(module: str) -> None:
    users = {file.name for package in FORBIDDEN for file in files(package) if module in set(imports(file))}
    assert users == {"signing.py"}
