#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The engine's benchmark in small: every kind of load has the outcome it is meant to have, the books
# are right afterwards, and what does not fit is refused.
set -uo pipefail
program=$1
failed=0

expect() {
    if ! grep -qF -- "$2" <<<"$1"; then
        echo "expected $2 in:"
        echo "$1"
        failed=1
    fi
}

out=$("$program" engine --accounts 100000 --packets 2000 --frames 160000 --runs 7 --seed 1 <<'END'
run hot 32 100000
run many 8 10000
run zipf 1 10000
run sold-out 32 100000
run already 32 20000
run used 32 160000
run expired 32 20000
check
END
)
expect "$out" '"kind":"hot","burst":32,"count":100000'
expect "$out" '"outcomes":{"ok":100000}'
expect "$out" '"outcomes":{"ok":10000}'
expect "$out" '"outcomes":{"ok":100,"sold_out":99900}'
expect "$out" '"already":20000,"outcomes":{"ok":20000}'
expect "$out" '"outcomes":{"sequence_used":160000}'
expect "$out" '"outcomes":{"expired":20000}'
expect "$out" '{"ok":true,"wrong":""'
expect "$out" '"money_fen":0'
expect "$out" '"account_bytes":64'
expect "$out" '"claim_bytes":16'

for line in "run hot 33 10" "run hot 32 2000000" "run used 32 10" "run nothing 1 1" "walk"; do
    if "$program" engine --accounts 100000 --frames 1000 --runs 1 <<<"$line" >/dev/null 2>&1; then
        echo "'$line' was not refused"
        failed=1
    fi
done
if "$program" engine --accounts 10000 --frames 1000 --runs 1 <<<"run hot 32 10" >/dev/null 2>&1; then
    echo "a hot packet for fewer people than it has shares was not refused"
    failed=1
fi
out=$("$program" engine --accounts 10000 --packets 1000 --frames 5000 --runs 1 --seed 1 <<'END'
run many 32 5000
check
END
)
expect "$out" '"outcomes":{"ok":5000}'
expect "$out" '{"ok":true,"wrong":""'
exit "$failed"
