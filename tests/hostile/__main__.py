"""`make hostile`: hostile clients and a fuzzer beside honest traffic, measured and counted. Writes docs/hostile.md."""

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tests.hostile.clients import CLIENTS
from tests.hostile.run import NAMES, Wanted, run

DOCUMENT = Path(__file__).parents[2] / "docs" / "hostile.md"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make hostile", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="repeats a run's choices")
    parser.add_argument("--requests", type=int, default=100_000, help="of the fuzzer; 0 for none")
    parser.add_argument("--seconds", type=float, default=10.0, help="that each client attacks for")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="one row; may be repeated")
    parser.add_argument("--list", action="store_true", help="say the names of all clients, and run nothing")
    parser.add_argument("--folder", type=Path, help="keep everything there, logs and all")
    parser.add_argument("--keep", action="store_true", help="do not write docs/hostile.md")
    given = parser.parse_args()
    if given.list:
        for client in CLIENTS.values():
            print(f"{client.name}: {client.sentence}")
        return
    if unknown := set(given.only) - set(NAMES):
        parser.error(f"{', '.join(sorted(unknown))}: no such row; one of {', '.join(NAMES)}")
    print(f"seed {given.seed}", flush=True)
    wanted = Wanted(given.seed, given.requests, given.seconds, given.only)
    with tempfile.TemporaryDirectory(prefix="callbox-hostile-") as folder:
        report = asyncio.run(run(given.folder or Path(folder), wanted))
    print(report.summary())
    if not given.keep:
        DOCUMENT.write_text(report.document())
        print(f"wrote {DOCUMENT.relative_to(Path.cwd())}")
    sys.exit(1 if list(report.misses()) else 0)


if __name__ == "__main__":
    main()
