"""`python -m workers`."""

import subprocess
import sys

import pytest
from celery.bin.celery import celery as celery_command

from workers.__main__ import ROLES, arguments


@pytest.mark.parametrize("role", ["worker", "beat"])
def test_its_options_are_options_of_the_locked_celery(role: str) -> None:
    known = {option for parameter in celery_command.commands[role].params for option in parameter.opts}
    assert {option.partition("=")[0] for option in ROLES[role]} <= known


def test_more_options_follow() -> None:
    assert arguments("beat", ["--loglevel=DEBUG"])[:2] == ["--app=workers.app", "beat"]
    assert arguments("beat", ["--loglevel=DEBUG"])[-1] == "--loglevel=DEBUG"


@pytest.mark.parametrize("words", [[], ["nothing"], ["--help"]])
def test_another_word_shows_the_usage(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "workers", *words], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: python -m workers worker|beat|flower")
