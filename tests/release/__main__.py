"""`make release-check`: what is released, as whoever installs it gets it. Leaves the wheel in dist/ if it is good."""

import shutil
import sys
import tempfile
from pathlib import Path

from tests.release.release import ROOT, Failed, build, digest, install, try_it


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="callbox-release-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the user of PostgreSQL passes through it
        (folder / "empty").mkdir()
        try:
            wheel = build(folder)
            print(f"built {wheel.name}; installing the locked versions and it into an empty environment", flush=True)
            programs = install(wheel, folder / "environment")
            print("running it in an empty folder", flush=True)
            status = try_it(programs, folder / "empty")
        except Failed as failure:
            sys.exit(str(failure))
        (ROOT / "dist").mkdir(exist_ok=True)
        kept = Path(shutil.copy(wheel, ROOT / "dist"))
    print(f"{status['accepted']} callbacks accepted, {status['stored']} stored")
    print(f"{kept.relative_to(ROOT)} sha256:{digest(kept)}")


if __name__ == "__main__":
    main()
