"""Read by every Python that has this folder on its path: what a process examines every minute, it examines every
second."""

import sys

if {"ingress", "workers"} & {*sys.orig_argv}:
    from shared import demands

    demands.CHECK_SECONDS = 1.0
