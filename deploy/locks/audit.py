"""Checks the given locks against OSV, the database of known vulnerabilities, with pip-audit: `make audit`.

Exits with 1 only when a locked version has one. What could not be checked for want of a network or of OSV fails
nothing, and reports that.
"""

import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

PIP_AUDIT = "pip-audit==2.10.1"
OSV = "https://api.osv.dev/v1/query"
REACH_SECONDS = 10.0
INSTALL_SECONDS = 180.0
AUDIT_SECONDS = 180.0


class NotChecked(Exception):
    """Nothing is known about the locked versions; the message has the reason."""


def main(locks: list[str]) -> int:
    """The exit code."""
    try:
        _reach(OSV)
        with tempfile.TemporaryDirectory(prefix="callbox-audit-") as folder:
            found = list(audit(locks, install(Path(folder)), OSV))
    except NotChecked as why:
        print(f"known vulnerabilities: NOT CHECKED, {why}")
        return 0
    for line in found:
        print(line)
    print(f"known vulnerabilities: {len(found) or 'none'} in {' and '.join(Path(lock).name for lock in locks)}")
    return 1 if found else 0


def _reach(url: str) -> None:
    """Before anything is installed. Raises NotChecked."""
    try:
        urlopen(url, timeout=REACH_SECONDS).close()  # noqa: S310 - our own constant
    except HTTPError as answer:  # which an address for POST gives to GET
        answer.close()
    except (URLError, OSError) as error:
        raise NotChecked(f"{url} cannot be reached ({error})") from None


def install(folder: Path) -> str:
    """The command, from a virtual environment of its own: what it needs is no part of Callbox. Raises NotChecked."""
    venv.create(folder, with_pip=True)
    _run([str(folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", PIP_AUDIT], INSTALL_SECONDS)
    return str(folder / "bin" / "pip-audit")


def audit(locks: list[str], command: str, url: str) -> Iterator[str]:
    """One line for each vulnerability of a locked version. Raises NotChecked."""
    options = ["--vulnerability-service", "osv", "--osv-url", url, "--format", "json", "--desc", "off"]
    options += ["--disable-pip", "--progress-spinner", "off"]
    done = _run([command, *options, *(word for lock in locks for word in ("-r", lock))], AUDIT_SECONDS, (0, 1))
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise NotChecked(f"pip-audit ended without a report ({_last(done.stderr)})") from None
    for package in report["dependencies"]:
        if "skip_reason" in package:
            raise NotChecked(f"pip-audit left out {package['name']} ({package['skip_reason']})")
        for vulnerability in package["vulns"]:
            names = ", ".join([vulnerability["id"], *vulnerability["aliases"]])
            fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
            yield f"{package['name']} {package['version']}: {names}; fixed in {fixed}"


def _run(command: list[str], seconds: float, codes: tuple[int, ...] = (0,)) -> "subprocess.CompletedProcess[str]":
    name = Path(command[0]).name
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except OSError as error:
        raise NotChecked(f"{name} cannot be run ({error.strerror})") from None
    except subprocess.TimeoutExpired:
        raise NotChecked(f"{name} took more than {seconds:g} s") from None
    if done.returncode not in codes:
        raise NotChecked(f"{name} failed ({_last(done.stderr)})")
    return done


def _last(output: str) -> str:
    return "".join(output.strip().splitlines()[-1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
