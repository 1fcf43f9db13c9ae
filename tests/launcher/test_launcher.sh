#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The launcher's parts, sourced and called one by one in a folder of their own; no root, no
# packages, no node. usage: test_launcher.sh PROGRAM-THAT-PRINTS-A-CONFIGURATION
# shellcheck disable=SC2317,SC2030,SC2031
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/../.." && pwd -P)
PROGRAM=$1
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
FAILED=0

for part in common setup build config node mysql process up; do
    # shellcheck source=/dev/null
    . "$ROOT/tools/launcher/$part.sh"
done

# Each test runs in a subshell with a fresh folder as node; its name is its sentence.
run() {
    rm -rf "$WORK/node"
    mkdir -p "$WORK/node/pid" "$WORK/node/log" "$WORK/node/etc"
    # Not in a condition: there bash would not stop at the first failure.
    set +e
    (
        set -e
        NODE=$WORK/node
        "$1"
    ) >"$WORK/out" 2>&1
    local code=$?
    set -e
    if [ "$code" -eq 0 ]; then
        printf 'ok    %s\n' "${1//_/ }"
    else
        printf 'FAIL  %s\n' "${1//_/ }"
        sed 's/^/      /' "$WORK/out"
        FAILED=1
    fi
}

expect() {
    [ "$1" = "$2" ] || {
        printf 'got "%s", want "%s"\n' "$1" "$2"
        exit 1
    }
}

# A "!" would not stop the test.
refute() {
    if "$@"; then
        printf 'should have failed: %s\n' "$*"
        exit 1
    fi
}

an_unknown_command_is_an_error_and_no_command_too() {
    local code=0
    "$ROOT/hongbao" nonsense 2>"$WORK/err" || code=$?
    expect "$code" 2
    grep -q "unknown command 'nonsense'" "$WORK/err"
    code=0
    "$ROOT/hongbao" 2>/dev/null || code=$?
    expect "$code" 2
}

help_is_found_by_every_command() {
    local command text
    for command in setup build demo up down status test bench clean; do
        text=$("$ROOT/hongbao" "$command" --help)
        grep -q "usage: ./hongbao $command" <<<"$text"
    done
    text=$("$ROOT/hongbao" --help)
    grep -q "usage: ./hongbao COMMAND" <<<"$text"
}

a_policy_of_the_host_is_put_back() {
    POLICY=$WORK/node/policy POLICY_SAVED=$WORK/node/policy.saved
    printf 'of the host\n' >"$POLICY"
    policy_forbid
    expect "$("$POLICY" >/dev/null 2>&1 || echo $?)" 101
    policy_restore
    expect "$(cat "$POLICY")" "of the host"
    policy_restore
    expect "$(cat "$POLICY")" "of the host"
}

a_policy_left_by_a_killed_setup_is_removed() {
    POLICY=$WORK/node/policy POLICY_SAVED=$WORK/node/policy.saved
    policy_forbid
    policy_forbid
    [ ! -e "$POLICY_SAVED" ]
    policy_restore
    [ ! -e "$POLICY" ]
}

every_package_has_its_reason() {
    expect "$(grep -vE '^(#.*|)$' "$ROOT/tools/packages.txt" | grep -v '# [a-zA-Z]')" ""
    expect "$(packages_wanted | grep -c '[^a-z0-9.+-]')" 0
}

a_recycled_pid_is_not_ours() {
    printf '%s %s\n' $$ 1 >"$NODE/pid/persist"
    refute process_alive persist
    printf '%s %s\n' $$ "$(process_start_time $$)" >"$NODE/pid/persist"
    process_alive persist
    printf 'garbage\n' >"$NODE/pid/persist"
    refute process_alive persist
}

what_a_dead_process_left_in_its_session_is_found_and_ended() {
    local leader child
    launch persist bash -c 'sleep 300 & echo $! >pid/child; exec sleep 300'
    until [ -s "$NODE/pid/child" ]; do sleep 0.01; done
    leader=$(process_pid persist)
    child=$(cat "$NODE/pid/child")
    process_alive persist
    kill -KILL "$leader"
    while process_alive persist; do sleep 0.01; done
    expect "$(process_leftovers persist)" "$child"
    end_leftovers persist
    expect "$(process_leftovers persist)" ""
}

a_stopped_process_leaves_no_pid_file() {
    launch control sleep 300
    stop_process control
    [ ! -e "$NODE/pid/control" ]
    refute process_alive control
}

the_configuration_is_read_as_the_programs_read_it() {
    print_config() { "$PROGRAM" "$@" --print-config; }
    printf 'node: { number = 7; }; front: { listen = "[::1]:9000"; };\n' >"$NODE/etc/a.conf"
    read_config "$NODE/etc/a.conf"
    expect "${CONFIG[node.number]}" 7
    expect "${CONFIG[front.listen]}" "[::1]:9000"
    expect "${CONFIG[mysql.socket]}" ""
    expect "${CONFIG[dataplane.idle]}" adaptive
    expect "$(http_address)" "http://[::1]:9000"
}

read_wrong() (read_config "$NODE/etc/a.conf")

a_wrong_configuration_is_refused_with_its_line() {
    print_config() { "$PROGRAM" "$@" --print-config; }
    printf 'node: {\n number = 700;\n};\n' >"$NODE/etc/a.conf"
    refute read_wrong 2>"$WORK/err"
    grep -q 'a.conf:2: node.number = 700 is out of bounds 0..99' "$WORK/err"
}

a_first_configuration_avoids_a_taken_port() {
    print_config() { "$PROGRAM" "$@" --print-config; }
    port_taken() { [ "$1" = 7480 ] || { [ "$1" -ge 8000 ] && [ "$1" -lt 8083 ]; }; }
    NODE=/tmp
    generate_config "$WORK/node" journal.segment_mib=16
    grep -q 'listen = "127.0.0.1:8083";' "$WORK/node/etc/hongbao.conf"
    grep -q 'listen_frames = "127.0.0.1:7481";' "$WORK/node/etc/hongbao.conf"
    grep -q 'segment_mib = 16;' "$WORK/node/etc/hongbao.conf"
}

no_name_is_left_open_in_the_nginx_configuration() {
    print_config() { "$PROGRAM" "$@" --print-config; }
    printf '' >"$NODE/etc/a.conf"
    read_config "$NODE/etc/a.conf"
    make_nginx_config
    grep -q 'listen 127.0.0.1:8080' "$NODE/etc/nginx.conf"
    grep -q 'listen 127.0.0.1:7480 reuseport' "$NODE/etc/nginx.conf"
    refute grep -q '@[A-Z_]*@' "$NODE/etc/nginx.conf"
    refute grep -Eq 'ssl|limit_req|per_address|# [][]' "$NODE/etc/nginx.conf"
}

what_is_configured_is_in_the_nginx_configuration() {
    print_config() { "$PROGRAM" "$@" --print-config; }
    printf 'front: { listen_frames = ""; requests_per_user = 20; connections_per_address = 9;
        tls_certificate = "/a/chain.pem"; tls_key = "/a/key.pem"; };\n' >"$NODE/etc/a.conf"
    read_config "$NODE/etc/a.conf"
    make_nginx_config
    grep -q 'listen 127.0.0.1:8080 ssl http2 reuseport' "$NODE/etc/nginx.conf"
    grep -q 'ssl_certificate_key /a/key.pem;' "$NODE/etc/nginx.conf"
    grep -q 'rate=20r/s' "$NODE/etc/nginx.conf"
    grep -q 'limit_conn per_address 9;' "$NODE/etc/nginx.conf"
    refute grep -q 'hb_framed' "$NODE/etc/nginx.conf"
    expect "$(http_address)" "https://127.0.0.1:8080"
}

a_certificate_without_its_key_is_refused() {
    print_config() { "$PROGRAM" "$@" --print-config; }
    printf 'front: { tls_certificate = "/a/chain.pem"; };\n' >"$NODE/etc/a.conf"
    read_config "$NODE/etc/a.conf"
    refute make_wrong 2>"$WORK/err"
    grep -q 'front.tls_key is not' "$WORK/err"
}

make_wrong() (make_nginx_config)

a_file_is_replaced_and_never_written_into() {
    printf 'old\n' >"$NODE/a"
    exec 7<"$NODE/a"
    printf 'new\n' >"$NODE/b"
    install_file "$NODE/b" "$NODE/a" 644
    expect "$(cat "$NODE/a")" new
    expect "$(cat <&7)" old
}

the_completion_offers_every_command_and_asks_hbctl_for_its_verbs() {
    # shellcheck source=/dev/null
    source <("$ROOT/hongbao" completion)
    COMP_WORDS=(./hongbao d) COMP_CWORD=1
    _hongbao
    expect "${COMPREPLY[*]}" "demo difference doctor down"
    COMP_WORDS=(./hongbao up --c) COMP_CWORD=2
    _hongbao
    expect "${COMPREPLY[*]}" --config
    printf '#!/bin/sh\n[ "$1" = --complete ] && echo "asked for $2"\n' >"$NODE/hbctl"
    chmod +x "$NODE/hbctl"
    COMP_WORDS=("$NODE/hbctl" cl) COMP_CWORD=1
    _hbctl
    expect "${COMPREPLY[*]}" "asked for cl"
}

for name in $(declare -F | awk '{ print $3 }' | grep -E '^(a|an|the|every|help_is|what|no)_'); do
    run "$name"
done
exit "$FAILED"
