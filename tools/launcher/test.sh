# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# All tests: those of meson (unit, system), then the end-to-end tests. Counts come from
# what the runners recorded, and a test that was skipped counts as failed.

# count_meson LOG: prints "passed failed" from meson's record, one JSON object per line.
count_meson() {
    python3 - "$1" <<'END'
import json
import sys

passed = failed = 0
with open(sys.argv[1], encoding="utf-8") as file:
    for line in file:
        result = json.loads(line)["result"]
        if result in ("OK", "EXPECTEDFAIL"):
            passed += 1
        else:
            failed += 1
print(passed, failed)
END
}

# run_suite SUITE JOBS: adds to PASSED and FAILED, shows what failed.
run_suite() {
    local suite=$1 jobs=$2 record=$BUILD/meson-logs/testlog-$1.json counts log
    log=$(mktemp)
    say "test: $suite"
    rm -f "$record"
    if ! meson test -C "$BUILD" --no-rebuild --suite "$suite" --num-processes "$jobs" \
        --logbase "testlog-$suite" --print-errorlogs >"$log" 2>&1; then
        if grep -q 'No suitable tests defined' "$log"; then
            rm -f "$log"
            return
        fi
        tail -80 "$log"
    fi
    rm -f "$log"
    if [ ! -s "$record" ]; then
        say "no record of suite $suite"
        FAILED=$((FAILED + 1))
        return
    fi
    counts=$(count_meson "$record")
    note "${counts% *} passed, ${counts#* } failed"
    PASSED=$((PASSED + ${counts% *}))
    FAILED=$((FAILED + ${counts#* }))
}

# The end-to-end tests count themselves: their last line is "N passed, N failed". They wait most of
# the time, so two run at once.
run_e2e() {
    local log last
    [ -x "$ROOT/tests/e2e/run" ] || return 0
    log=$(mktemp)
    say "test: e2e"
    HONGBAO_BUILD=$BUILD "$ROOT/tests/e2e/run" --jobs 2 2>"$log" | tee "$log.out" | sed -u 's/^/  /' || true
    last=$(tail -n 1 "$log.out")
    if [[ "$last" =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        PASSED=$((PASSED + BASH_REMATCH[1]))
        FAILED=$((FAILED + BASH_REMATCH[2]))
        [ "${BASH_REMATCH[2]}" -eq 0 ] || tail -n 60 "$log"
    else
        tail -n 60 "$log"
        say "the end-to-end tests ended without their count"
        FAILED=$((FAILED + 1))
    fi
    rm -f "$log" "$log.out"
}

# The package in a clean Debian: on demand, as it needs debootstrap, an archive and minutes.
run_package() {
    local log
    log=$(mktemp)
    say "test: package"
    if ! HONGBAO_BUILD=$BUILD "$ROOT/tests/package/install" 2>&1 | tee "$log" |
        sed -u 's/^/  /'; then
        FAILED=$((FAILED + 1))
    fi
    PASSED=$((PASSED + $(grep -c '^ok ' "$log" || true)))
    rm -f "$log"
}

meson_suites() {
    meson introspect --tests "$BUILD" | jq -r '[.[].suite[] | sub("^hongbao:"; "")] | unique[]'
}

command_test() {
    local suite suites
    if help_wanted "$@"; then
        say "usage: ./hongbao test [SUITE...]"
        say "Installs, builds, runs the suites: unit, system, e2e (all without an argument)."
        say "package, only when named: the Debian package installed in a clean root (2 to 4 minutes)."
        say "The last line is 'N passed, N failed'; exit 1 when something failed."
        return
    fi
    need_root test
    setup
    build
    PASSED=0 FAILED=0
    # Test nodes are small; several may run at once.
    export HONGBAO_MYSQL_POOL=${HONGBAO_MYSQL_POOL:-128M} HONGBAO_MYSQL_LOG=${HONGBAO_MYSQL_LOG:-128M}
    mapfile -t suites < <(meson_suites)
    for suite in "${suites[@]}"; do
        if [ $# -gt 0 ] && [[ " $* " != *" $suite "* ]]; then
            continue
        fi
        case $suite in
        unit) run_suite "$suite" 2 ;;
        *) run_suite "$suite" 1 ;;
        esac
    done
    if [ $# -eq 0 ] || [[ " $* " == *" e2e "* ]]; then
        run_e2e
    fi
    if [[ " $* " == *" package "* ]]; then
        setup --package
        run_package
    fi
    say "$PASSED passed, $FAILED failed"
    [ "$FAILED" -eq 0 ] && [ "$PASSED" -gt 0 ]
}
