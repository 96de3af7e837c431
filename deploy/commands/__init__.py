"""The `callbox` command: one file for each subcommand or family."""
