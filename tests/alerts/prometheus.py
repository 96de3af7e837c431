"""A real Prometheus with the rules of this repository. Their minutes are seconds here, and nothing takes longer than a
test can wait."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

import yaml

from deploy.local.servers import free_port
from tests.deploy.monitoring.support import FOLDER, RULE_FILES, program
from tests.faults.process import Process

TIMES_SHORTER = 60
SHORTEST_SECONDS = 1
LONGEST_SECONDS = {"for": 3, "window": 6, "rhythm": 25}  # a rhythm must be longer than its gaps
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

_DURATION = re.compile(r"(?<=\[)[\dsmhdw]+(?=\])|(?<=offset )[\dsmhdw]+")
_AGE = re.compile(r"(?<=oldest_seconds\) > )\d+")
_PART = re.compile(r"(\d+)([smhdw])")


def shortened(duration: str, longest: str) -> str:
    seconds = sum(int(number) * SECONDS[unit] for number, unit in _PART.findall(duration))
    return f"{max(SHORTEST_SECONDS, min(seconds // TIMES_SHORTER, LONGEST_SECONDS[longest]))}s"


def short_rules(text: str) -> str:
    """A file of rules, with short durations; the age of the inbox is one too."""
    document = yaml.safe_load(text)
    for group in document["groups"]:
        if "interval" in group:
            group["interval"] = shortened(group["interval"], "window")
        for rule in group["rules"]:
            longest = "rhythm" if "callbox:source_" in str(rule) else "window"
            rule["expr"] = _DURATION.sub(partial(_shortened, longest), rule["expr"])
            rule["expr"] = _AGE.sub(lambda found: str(int(found[0]) // TIMES_SHORTER), rule["expr"])
            if "for" in rule:
                rule["for"] = shortened(rule["for"], "for")
    return yaml.safe_dump(document)


def _shortened(longest: str, found: re.Match[str]) -> str:
    return shortened(found[0], longest)


class Prometheus:
    """One of them, which asks these targets: job → admin URLs."""

    def __init__(self, folder: Path, targets: Mapping[str, Sequence[str]]) -> None:
        for name in RULE_FILES:
            (folder / name).write_text(short_rules((FOLDER / name).read_text()))
        config = yaml.safe_load((FOLDER / "prometheus.example.yaml").read_text())
        config["global"] = dict.fromkeys(config["global"], f"{SHORTEST_SECONDS}s")
        for job in config["scrape_configs"]:
            job["static_configs"] = [{"targets": [urlsplit(url).netloc for url in targets[job["job_name"]]]}]
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        words = [
            program("prometheus"),
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address={address}",
        ]
        self.process = Process("prometheus", lambda: words, folder / "prometheus.log")

    def ask(self, path: str, **words: str) -> Any:
        """What its API says. Raises OSError while nobody listens."""
        with urlopen(f"{self.url}/api/v1/{path}?{urlencode(words)}", timeout=30) as response:
            return json.load(response)["data"]

    def sees_every_target(self) -> bool:
        """Whether each has answered."""
        with suppress(OSError):
            return [each["value"][1] for each in self.query("min(up)")] == ["1"]
        return False

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an expression, now."""
        found: list[dict[str, Any]] = self.ask("query", query=expr)["result"]
        return found

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that fire now."""
        return [alert for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"]
