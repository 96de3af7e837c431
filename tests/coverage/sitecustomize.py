"""Read by every Python that `make coverage` starts: it is measured too, whatever environment its parent passes on."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]

os.environ["COVERAGE_PROCESS_START"] = str(ROOT / "pyproject.toml")
os.environ["COVERAGE_FILE"] = str(ROOT / ".coverage")  # whatever the process's working folder is

import coverage  # noqa: E402 - it reads these variables

coverage.process_startup()
