"""`make faults`: real processes under load and every fault, ending in a count. Writes docs/faults.md."""

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tests.faults.run import BROKEN, Report, run

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="repeats a run's choices")
    parser.add_argument("--rate", type=float, default=1000.0, help="callbacks a second")
    parser.add_argument(
        "--only", action="append", default=[], metavar="FAULT", help="one fault, by its name; may be repeated"
    )
    parser.add_argument("--break", dest="broken", default="", choices=BROKEN, help="a promise to break on purpose")
    parser.add_argument("--folder", type=Path, help="keep everything there, logs and all")
    parser.add_argument("--keep", action="store_true", help="do not write docs/faults.md")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="callbox-faults-") as folder:
        report: Report = asyncio.run(
            run(given.folder or Path(folder), given.seed, given.rate, given.only, broken=given.broken)
        )
    print(report.summary())
    if not given.keep:
        DOCUMENT.write_text(report.document())
        print(f"wrote {DOCUMENT.relative_to(Path.cwd())}")
    sys.exit(0 if report.kept else 1)


if __name__ == "__main__":
    main()
