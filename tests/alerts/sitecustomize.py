"""Read by every Python that has this folder on its path: what a process looks at every minute, it looks at every second."""

import sys

if {"ingress", "workers"} & {*sys.orig_argv}:
    from shared import demands

    demands.CHECK_SECONDS = 1.0
