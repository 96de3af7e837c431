"""`python -m workers worker`, `beat` or `flower`: Celery's processes, with the options that Callbox needs.

More options of Celery's may follow. `celery -A workers.app worker` works as well, without these options.
"""

import sys
from collections.abc import Sequence

from celery import __main__ as celery

ROLES = {
    "worker": ["--without-gossip", "--without-mingle", "--loglevel=INFO"],
    "beat": ["--pidfile=", "--loglevel=INFO"],
    "flower": ["--tasks-columns=name,state,result,received,runtime,worker"],
}


def arguments(role: str, options: Sequence[str]) -> list[str]:
    """What Celery's command gets."""
    return ["--app=workers.app", role, *ROLES[role], *options]


def main() -> None:
    role, *options = sys.argv[1:] or [""]
    if role not in ROLES:
        print(f"usage: python -m workers {'|'.join(ROLES)} [OPTION OF CELERY]...", file=sys.stderr)
        raise SystemExit(2)
    sys.argv = [str(celery.__file__), *arguments(role, options)]
    celery.main()


if __name__ == "__main__":
    main()
