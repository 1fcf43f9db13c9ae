# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The simulator: one program of the build; as root the build is brought up to date first.

command_sim() {
    if help_wanted "$@"; then
        say "usage: ./hongbao sim [--seeds N] [--from S] [--json]    ./hongbao sim --seed S --log"
        say "Simulates clients, dataplane, persist and a disk that fails; exit 1 when something"
        say "acknowledged is lost, with the seed. --log replays one seed step by step."
        return
    fi
    if [ "$(id -u)" -eq 0 ]; then
        { setup && build; } >&2
    fi
    [ -x "$BUILD/tests/sim/hongbao-sim" ] || fail "nothing is built; run ./hongbao build as root"
    exec "$BUILD/tests/sim/hongbao-sim" "$@"
}
