"""What `make run` shows once everything runs."""

import re
from pathlib import Path

from deploy.commands.main import main
from deploy.local.demo import next_steps
from shared.config import Config
from shared.settings import Settings
from shared.source import Source

SOURCES = {"fleet": Source("fleet", "emnify", secrets=("a-secret-of-emnify",))}


def test_it_names_commands_for_a_second_terminal_that_exist_the_live_ones_among_them() -> None:
    configuration = Config(Path("demo/callbox.toml"), Settings(), SOURCES)
    text = "\n".join(next_steps(configuration, Path("demo"), {"CALLBOX_URL": "http://127.0.0.1:1"}))
    named = re.findall(r"^  \.venv/bin/callbox ([a-z-]+)", text, re.MULTILINE)
    assert {"tail", "top", "send", "status", "show"} <= set(named) <= main.commands.keys()
