# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Measurements are perf/'s; the launcher installs, builds and hands over.

command_bench() {
    if [ $# -eq 0 ] || [ "$1" = -h ] || [ "$1" = --help ]; then
        say "usage: ./hongbao bench NAME [--json] [options]    ./hongbao bench --list"
        say "Prints what was measured; --json: one JSON object as its last line."
        [ $# -gt 0 ] || exit 2
        return
    fi
    [ -x "$ROOT/perf/bench" ] || fail "perf/bench is missing in this checkout"
    if [ "$1" != --list ]; then
        need_root bench
        # Only progress goes to standard error: the last line of standard output is the result.
        { setup && build; } >&2 # always: an old build must not be tried
    fi
    export HONGBAO_ROOT=$ROOT HONGBAO_BUILD=$BUILD
    exec "$ROOT/perf/bench" "$@"
}

command_torture() {
    need_root torture
    if ! help_wanted "$@"; then
        { setup && build; } >&2 # always: an old build must not be tried
    fi
    export HONGBAO_ROOT=$ROOT HONGBAO_BUILD=$BUILD
    exec "$ROOT/tests/e2e/torture" "$@"
}
