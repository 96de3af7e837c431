"""Running and operating Callbox: the `callbox` command, everything on one machine, and the files for containers."""
