#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The benchmark of claim tables in small: each finds all that was entered (the program itself
# compares the sums), one at a time and in bursts, up to the last share; bad words are refused.
set -uo pipefail
program=$1
failed=0
RUNTIME_DIRECTORY=$(mktemp -d)
export RUNTIME_DIRECTORY
trap 'rm -rf "$RUNTIME_DIRECTORY"' EXIT

for table in engine rte_hash lfht; do
    for burst in 1 32; do
        out=$("$program" "$table" --packets 1600 --claims 16000 --burst "$burst" --seed 7)
        if ! grep -qF "\"table\":\"$table\",\"packets\":1600,\"claims\":16000,\"burst\":$burst" <<<"$out"; then
            echo "$table, bursts of $burst: $out"
            failed=1
        fi
    done
done
for words in "engine --burst 33" "engine --packets 100 --claims 1001 --burst 1" "redis" "lfht --claims many" ""; do
    # shellcheck disable=SC2086
    if "$program" $words >/dev/null 2>&1; then
        echo "'$words' was not refused"
        failed=1
    fi
done
exit "$failed"
