#!/usr/bin/env bash
# Runs a command of pytest's on the embedded servers; where CALLBOX_TEST_REDIS or CALLBOX_TEST_POSTGRES name others, once
# on each of these in their place. They name programs of Redis or Valkey, and folders with the programs of PostgreSQL;
# commas separate several.
set -euo pipefail
IFS=, read -r -a redises <<< "${CALLBOX_TEST_REDIS:-}"
IFS=, read -r -a postgreses <<< "${CALLBOX_TEST_POSTGRES:-}"
unset CALLBOX_TEST_REDIS CALLBOX_TEST_POSTGRES

# run VARIABLE VALUE PROGRAM COMMAND...
run() {
    if [ ! -x "$3" ]; then
        echo "$1: there is no program $3" >&2
        exit 2
    fi
    echo "with $("$3" --version)"
    env "$1=$2" "${@:4}"
}

if [ "${#redises[@]}" = 0 ] && [ "${#postgreses[@]}" = 0 ]; then exec "$@"; fi
for redis in "${redises[@]}"; do run CALLBOX_TEST_REDIS "$redis" "$redis" "$@"; done
for postgres in "${postgreses[@]}"; do run CALLBOX_TEST_POSTGRES "$postgres" "$postgres/postgres" "$@"; done
