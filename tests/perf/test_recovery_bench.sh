#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The benchmark `recovery` in small, over a kept journal: it replays every record behind the snapshot,
# all of them without one, and compares the marks; a node that is not there is refused.
#
# usage: test_recovery_bench.sh HONGBAO_BENCH KEPT_JOURNAL
set -uo pipefail
program=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

cp -r "$2/journal" "$scratch/journal"
cat >"$scratch/conf" <<END
node: { directory = "$scratch"; };
capacity: { accounts = 1024; packets = 1024; arena_mib = 1; windows = 1024; orders = 1024;
            idempotency = 1024; holds = 1024; };
END

# expect WHAT JQ: the condition holds for the run's result
expect() {
    if ! jq -e "$2" <<<"$out" >/dev/null; then
        echo "$1: $out"
        failed=1
    fi
}

out=$("$program" recovery --config "$scratch/conf")
expect "behind the snapshot" '.snapshot_seq > 0 and .records == .seq - .snapshot_seq'
expect "all were read again" '.records == .read and .marks > 0'
rm -r "$scratch/journal/snapshot"
out=$("$program" recovery --config "$scratch/conf")
expect "without a snapshot" '.snapshot_seq == 0 and .records == .seq and .records == .read'
if "$program" recovery --config "$scratch/missing" 2>/dev/null; then
    echo "a node that is not there was not refused"
    failed=1
fi
exit "$failed"
