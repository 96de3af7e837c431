"""Prometheus and promtool where they are installed, and the rules of this repository as data."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.catalogue import CATALOGUE, Kind

FOLDER = Path(__file__).parents[3] / "deploy" / "monitoring"
RULE_FILES = ("rules.yaml", "alerts.yaml")

# promtool works at one thing at a time: with more threads, and with less garbage left, it takes twice the processor.
_SPARING = {"GOMAXPROCS": "1", "GOGC": "400"}

Rule = dict[str, Any]


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`. Skips the test where there is none, unless .ci/run has installed it."""
    path = shutil.which(name)
    if path is None:
        assert "TEST_PROMETHEUS" not in os.environ, f"{name} is not installed"
        pytest.skip(f"{name} is not installed")
    return path


def promtool(*words: str) -> None:
    """Runs it, and fails with what it says."""
    done = subprocess.run([program("promtool"), *words], capture_output=True, text=True, env={**os.environ, **_SPARING})
    assert done.returncode == 0, done.stdout + done.stderr


def groups() -> list[dict[str, Any]]:
    """Every group of every file, in order."""
    return [group for name in RULE_FILES for group in yaml.safe_load((FOLDER / name).read_text())["groups"]]


def rules() -> list[Rule]:
    return [rule for group in groups() for rule in group["rules"]]


def alerts() -> dict[str, Rule]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def records() -> dict[str, Rule]:
    return {rule["record"]: rule for rule in rules() if "record" in rule}


def names_in(query: str) -> set[str]:
    """The metrics and recorded series that a query names; none of those in a string."""
    return set(re.findall(r"\b(?:callbox[\w:]+|up)\b(?=[^\w]|$)", re.sub(r'"[^"]*"', "", query)))


def sample_names() -> set[str]:
    """Every name that a metric of the catalogue has in a query."""
    suffixes = {Kind.HISTOGRAM: ("_bucket", "_count", "_sum")}
    return {metric.name + suffix for metric in CATALOGUE for suffix in suffixes.get(metric.kind, ("",))}
