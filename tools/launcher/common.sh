# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What all parts of the launcher share: messages, locks, the places of things.

STATE_ROOT=/var/lib/hongbao
# One node directory per checkout, where the node's own users reach it even when
# the checkout lies under a closed home.
CHECKOUT_ID=$(printf %s "$ROOT" | sha256sum | cut -c1-8)
DEFAULT_NODE=$STATE_ROOT/$CHECKOUT_ID
BUILD=${HONGBAO_BUILD:-$ROOT/build}
GROUP=hongbao
PROGRAMS=(dataplane/hongbao-dataplane persist/hongbao-persist
    controlplane/hongbao-control tools/hbctl/hbctl tools/frame/hongbao-frame perf/hongbao-bench)

say() {
    printf '%s\n' "$*"
}

note() {
    printf '  %s\n' "$*"
}

fail() {
    printf 'hongbao: %s\n' "$*" >&2
    exit 1
}

usage_error() {
    printf 'hongbao: %s\n' "$*" >&2
    exit 2
}

need_root() {
    [ "$EUID" -eq 0 ] || fail "$1 needs root; run it with sudo or as root"
}

# Milliseconds of a clock that never jumps.
now_ms() {
    local seconds
    read -r seconds _ </proc/uptime
    printf '%s\n' "$((10#${seconds/./} * 10))"
}

# take_lock FILE WHAT: hold the lock until the launcher ends.
# File descriptors 8 and 9 hold locks and are closed in everything the launcher leaves running.
take_lock() {
    exec 9>"$1"
    flock -n 9 && return
    note "waiting for another ./hongbao $2"
    flock -w 300 9 || fail "another ./hongbao $2 holds $1 for 5 minutes; is it stuck?"
}

help_wanted() {
    local argument
    for argument in "$@"; do
        case $argument in
        -h | --help) return 0 ;;
        esac
    done
    return 1
}
