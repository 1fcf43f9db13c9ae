# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# doctor: hbctl looks at machine and node; the launcher only finds both.

command_doctor() {
    local hbctl=$BUILD/tools/hbctl/hbctl config=()
    if help_wanted "$@"; then
        say "usage: ./hongbao doctor [--config FILE] [--json]"
        say "Looks at the machine and, when there is one, at the node: one line each, ok, warn or"
        say "fail, with what to do. Changes nothing. Exit 1 when something is wrong."
        return
    fi
    choose_node "$@"
    [ -x "$hbctl" ] || hbctl=$NODE/bin/hbctl
    [ -x "$hbctl" ] || fail "nothing is built yet; run ./hongbao build"
    if [ -n "$OPERATOR_CONFIG" ]; then
        config=(-c "$OPERATOR_CONFIG")
    elif [ -f "$NODE/etc/hongbao.conf" ]; then
        config=(-c "$NODE/etc/hongbao.conf")
    fi
    cd / # not another node's ./run
    exec "$hbctl" "${config[@]}" "${REST[@]}" doctor
}
