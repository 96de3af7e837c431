"""The wheel holds all that runs and all that an operator copies, and works where nothing else of the repository is. The
long form, with the locked versions, is `make release-check`."""

import zipfile
from pathlib import Path

import pytest

from tests.release.release import COUNT, PACKAGES, ROOT, build, install, try_it

OWN = (".env", "secrets.env", "callbox.toml")  # of one installation


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


def test_every_file_of_the_packages_is_in_it_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    present = {str(path.relative_to(ROOT)) for path in paths if path.name not in OWN and path.suffix != ".pyc"}
    assert found == {name for name in present if not name.startswith("deploy/docker/tls/")}


def test_it_takes_and_stores_callbacks_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    programs = install(wheel, tmp_path / "environment", locked=False)
    (tmp_path / "empty").mkdir()
    status = try_it(programs, tmp_path / "empty")
    assert status["accepted"] == status["stored"] == COUNT * len(status["sources"])
