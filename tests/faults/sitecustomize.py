"""Read by every Python that has this folder on its path: in a worker, a poisoned callback ends the process.

This stands for what no test can wait for: a parser or a library that crashes on one callback only.
"""

import os
import signal
import sys

if "workers.app" in sys.orig_argv and "worker" in sys.orig_argv:
    from workers import parse

    _read = parse.read

    def _read_or_die(entry, sources):
        if b"callbox-poison" in entry.packed:
            os.kill(os.getpid(), signal.SIGKILL)
        return _read(entry, sources)

    parse.read = _read_or_die
