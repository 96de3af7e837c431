"""What the check of the locked versions says, with a pip-audit of our own in place of the real one."""

import json
import re
import sys
from pathlib import Path

import pytest

from deploy.local.servers import free_port
from deploy.locks import audit

ROOT = Path(__file__).parents[3]
GOOD = {"name": "good", "version": "1.0", "vulns": []}
BAD = {
    "name": "bad",
    "version": "1.0",
    "vulns": [
        {"id": "PYSEC-1", "aliases": ["CVE-1", "GHSA-1"], "fix_versions": ["1.1", "2.0"]},
        {"id": "PYSEC-2", "aliases": [], "fix_versions": []},
    ],
}


@pytest.fixture(autouse=True)
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_reach", lambda url: None)


def pip_audit(monkeypatch: pytest.MonkeyPatch, folder: Path, program: str) -> None:
    """Puts this program in place of what would be installed."""
    path = folder / "pip-audit"
    path.write_text(f"#!{sys.executable}\nimport sys, time\n{program}\n")
    path.chmod(0o755)
    monkeypatch.setattr(audit, "install", lambda _: str(path))


def reporting(*packages: object) -> str:
    found = any(package.get("vulns") for package in packages if isinstance(package, dict))
    return f"print({json.dumps({'dependencies': packages})!r})\nsys.exit({int(found)})"


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_known_vulnerability_fails_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pip_audit(monkeypatch, tmp_path, reporting(GOOD, BAD))
    assert audit.main(["locks/runtime.txt", "locks/dev.txt"]) == 1
    assert said(capsys) == [
        "bad 1.0: PYSEC-1, CVE-1, GHSA-1; fixed in 1.1, 2.0",
        "bad 1.0: PYSEC-2; fixed in no version yet",
        "known vulnerabilities: 2 in runtime.txt and dev.txt",
    ]


def test_without_one_it_passes_and_has_looked_at_every_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"open({str(tmp_path / 'words')!r}, 'w').write(' '.join(sys.argv[1:]))\n"
    pip_audit(monkeypatch, tmp_path, words + reporting(GOOD))
    assert audit.main(["one.txt", "two.txt"]) == 0
    assert said(capsys) == ["known vulnerabilities: none in one.txt and two.txt"]
    assert (tmp_path / "words").read_text().endswith("-r one.txt -r two.txt")


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("sys.exit('ConnectionError: no route')", "pip-audit ended without a report (ConnectionError: no route)"),
        ("sys.exit(2)", "pip-audit failed ()"),
        ("time.sleep(60)", "pip-audit took more than 2 s"),
        (reporting(GOOD, {"name": "odd", "skip_reason": "not found"}), "pip-audit left out odd (not found)"),
    ],
)
def test_what_could_not_be_checked_is_reported_and_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], program: str, why: str
) -> None:
    monkeypatch.setattr(audit, "AUDIT_SECONDS", 2.0)
    pip_audit(monkeypatch, tmp_path, program)
    assert audit.main(["runtime.txt"]) == 0
    assert said(capsys) == [f"known vulnerabilities: NOT CHECKED, {why}"]


def test_without_a_network_nothing_is_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setattr(audit, "OSV", url)
    monkeypatch.setattr(audit, "install", lambda _: pytest.fail("installed"))
    assert audit.main(["runtime.txt"]) == 0
    (line,) = said(capsys)
    assert line.startswith(f"known vulnerabilities: NOT CHECKED, {url} cannot be reached (")


def test_every_submission_is_checked_before_its_tests_whose_line_is_the_last() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    checks = [line.removeprefix("make ") for line in lines if line.startswith("make ")]
    assert checks == ["lint", "audit", "production", "test"]
    assert lines[-1] == "make test"
    recipe = re.search(r"^audit:.*\n\t@(.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    assert recipe[1].split()[1:] == ["deploy/locks/audit.py", "deploy/locks/runtime.txt", "deploy/locks/dev.txt"]
