"""The images pinned by `make lock`, with a Docker of our own in place of the real one."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[3] / "deploy"
IMAGES = {"python:3.13-slim", "valkey/valkey:8-alpine", "postgres:17", "nginx:stable-alpine"}
DOCKER = """#!/bin/sh
[ "$1 $2 $3 $5 $6" = "buildx imagetools inspect --format {{.Manifest.Digest}}" ] || exit 9
echo "$4" >> "$ASKED"
echo "sha256:$(printf '%s' "$4$SALT" | sha256sum | cut -d ' ' -f 1)"
"""


class Lock:
    """Copies of the two files, and what pins them."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.asked = folder / "asked"
        self.files = [folder / name for name in ("Dockerfile", "compose.yaml")]
        for file in self.files:
            text = (DEPLOY / "docker" / file.name).read_text()
            file.write_text(re.sub("@sha256:[0-9a-f]{64}", "", text))

    def docker(self, script: str) -> None:
        (self.bin / "docker").write_text(script)
        (self.bin / "docker").chmod(0o755)

    def pin(self, salt: str = "") -> str:
        """What it says."""
        path = f"{self.bin}:/usr/bin:/bin" if (self.bin / "docker").exists() else str(self.bin)
        done = subprocess.run(
            [sys.executable, str(DEPLOY / "locks" / "pin.py"), *map(str, self.files)],
            env={"PATH": path, "ASKED": str(self.asked), "SALT": salt},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    def texts(self) -> list[str]:
        return [file.read_text() for file in self.files]

    def images(self) -> list[str]:
        """Every image of somebody else's that the files name."""
        dockerfile, compose = self.texts()
        words = [line.split()[1] for line in dockerfile.splitlines() if line.startswith("FROM ")]
        services = yaml.safe_load(compose)["services"].values()
        return words + [service["image"] for service in services if service["image"] != "callbox"]


@pytest.fixture
def lock(tmp_path: Path) -> Lock:
    return Lock(tmp_path)


def test_every_image_is_pinned_and_nothing_else_changes(lock: Lock) -> None:
    before = lock.texts()
    assert set(lock.images()) == IMAGES
    lock.docker(DOCKER)
    assert lock.pin() == ""
    assert {image.partition("@")[0] for image in lock.images()} == IMAGES
    assert all(len(image.partition("@sha256:")[2]) == 64 for image in lock.images())
    assert len(set(lock.images())) == len(IMAGES), "each has a digest of its own, the same wherever it is named"
    for was, now in zip(before, lock.texts(), strict=True):
        assert re.sub("@sha256:[0-9a-f]{64}", "", now) == was
    assert sorted(lock.asked.read_text().split()) == sorted(IMAGES), "each is asked for once, by its tag"


def test_a_pinned_image_moves_to_what_its_tag_is_now(lock: Lock) -> None:
    lock.docker(DOCKER)
    lock.pin()
    first = lock.texts()
    lock.pin()
    assert lock.texts() == first
    lock.pin(salt="new")
    assert not set(lock.images()) & {image for text in first for image in text.split()}
    assert {image.count("@") for image in lock.images()} == {1}


@pytest.mark.parametrize(
    ("docker", "why"),
    [
        ("", "docker is not installed"),
        ("#!/bin/sh\necho 'docker: unknown command: docker buildx' >&2\nexit 1\n", "unknown command: docker buildx"),
        ("#!/bin/sh\necho sha256:short\n", "docker buildx answered 'sha256:short'"),
        ("#!/bin/sh\n", "docker buildx answered ''"),
    ],
)
def test_what_cannot_be_pinned_stays_as_it_is_and_is_named(lock: Lock, docker: str, why: str) -> None:
    lock.docker(DOCKER)
    lock.pin()
    pinned = lock.texts()
    (lock.bin / "docker").unlink()
    if docker:
        lock.docker(docker)
    said = lock.pin().splitlines()
    assert lock.texts() == pinned
    assert {line.partition(" was not pinned: ")[0] for line in said} == IMAGES
    assert all(why in line for line in said)
