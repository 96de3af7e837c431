"""`make bench`: every contender in turn, on embedded servers. Writes docs/benchmarks.md and docs/benchmarks.svg."""

import argparse
import tempfile
from pathlib import Path

from tests.load.alone import Growth, Loads
from tests.load.measure import FULL, TINY, Found, Sizes
from tests.load.report import document, picture, targets
from tests.load.rig import Rig
from tests.load.rounds import Rounds

DOCS = Path(__file__).parents[2] / "docs"


def measure(folder: Path, sizes: Sizes, is_forked: bool = False) -> Found:
    found = Found()
    with Rig(folder, is_forked) as rig:
        for them in (Growth, Rounds, Loads):
            them(rig, sizes, found, lambda line: print(line, flush=True)).run()
    return found


def write(found: Found, sizes: Sizes, docs: Path) -> None:
    (docs / "benchmarks.md").write_text(document(found, sizes))
    (docs / "benchmarks.svg").write_text(picture(found))


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="only to see that it runs; the figures mean nothing")
    parser.add_argument("--keep", action="store_true", help="do not write into docs/")
    given = parser.parse_args()
    sizes = TINY if given.tiny else FULL
    with tempfile.TemporaryDirectory(prefix="callbox-bench-") as folder:
        found = measure(Path(folder), sizes)
    all_targets = list(targets(found))
    print(*(target.row() for target in all_targets), sep="\n")
    if not given.keep:
        write(found, sizes, DOCS)
        print("wrote docs/benchmarks.md and docs/benchmarks.svg")
    met = sum(target.met for target in all_targets)
    print(f"{met} of {len(all_targets)} targets are met on this machine, as busy as it was")


if __name__ == "__main__":
    main()
