"""Pins the images that the given files name to the digests that their tags have now: the last step of `make lock`.

Where Docker is missing or cannot be asked, an image stays as it is, and a line reports it.
"""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

SECONDS = 60.0  # for a registry to answer

# NAME:TAG, perhaps pinned before, after FROM (Dockerfile) or `image:` (Compose). Our own image has no tag.
_IMAGE = re.compile(r"^(FROM |[ ]+image: )([\w./-]+:[\w.-]+)(@sha256:[0-9a-f]{64})?(?=\s|$)", re.MULTILINE)


def main(paths: list[str]) -> None:
    for path in map(Path, paths):
        text = path.read_text(encoding="utf-8")
        pinned = _IMAGE.sub(_pin, text)
        if pinned != text:
            path.write_text(pinned, encoding="utf-8")


def _pin(found: re.Match[str]) -> str:
    digest = _digest_of(found[2])
    return f"{found[1]}{found[2]}@{digest}" if digest else found[0]


@cache
def _digest_of(image: str) -> str | None:
    """That of the image for all its platforms; None, and a line on standard error, if it cannot be found out."""
    command = ["docker", "buildx", "imagetools", "inspect", image, "--format", "{{.Manifest.Digest}}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except FileNotFoundError:
        why = "docker is not installed"
    except subprocess.TimeoutExpired:
        why = f"no answer within {SECONDS:g} s"
    else:
        if done.returncode == 0 and re.fullmatch(r"sha256:[0-9a-f]{64}", digest := done.stdout.strip()):
            return digest
        first_line, _, _ = (done.stderr.strip() or done.stdout.strip()).partition("\n")
        why = f"docker buildx answered {first_line!r}"
    print(f"{image} was not pinned: {why}", file=sys.stderr)
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
