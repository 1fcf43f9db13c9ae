# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# up, down, status: the life of a node.

# Packages and programs, when something of them is missing.
prepare_programs() {
    need_root "./hongbao"
    setup
    built || build
}

process_wanted() {
    case $1 in
    mysql*) mysql_is_private "$1" ;;
    esac
}

start_node() {
    local name started=0
    GROUP_ID=$(getent group "$GROUP" | cut -d: -f3)
    for name in "${PROCESSES[@]}"; do
        process_wanted "$name" || continue
        if process_alive "$name"; then
            continue
        fi
        case $name in
        mysql*)
            make_mysql_config "$name"
            initialise_mysql "$name"
            start_process "$name"
            grant_mysql "$name"
            ;;
        *) start_process "$name" ;;
        esac
        started=$((started + 1))
    done
    if [ "$started" -eq 0 ]; then
        note "everything runs already"
    fi
    wait_for_health
}

# The whole chain, from HTTP to the journal: nginx answers 200 once a dataplane is attached.
wait_for_health() {
    local begin
    begin=$(now_ms)
    until healthy nginx; do
        process_alive nginx || fail "nginx ended; see $NODE/log/nginx.log"
        [ $(($(now_ms) - begin)) -lt 30000 ] ||
            fail "$(http_address)/health does not answer 200 within 30 s; see $NODE/log"
        sleep 0.1
    done
}

stop_node() {
    local i
    for ((i = ${#PROCESSES[@]} - 1; i >= 0; i--)); do
        stop_process "${PROCESSES[i]}"
    done
}

# The command that reaches a tool of this node, as short as it gets.
tool_words() {
    case $1 in
    hbctl)
        if [ "$NODE" = "$DEFAULT_NODE" ]; then
            printf './run/bin/hbctl\n'
        else
            printf '%s/bin/hbctl -c %s/etc/hongbao.conf\n' "$NODE" "$NODE"
        fi
        ;;
    business)
        if [ "$NODE" = "$DEFAULT_NODE" ]; then
            printf 'tools/business-call\n'
        else
            printf 'tools/business-call -c %s/etc/hongbao.conf\n' "$NODE"
        fi
        ;;
    esac
}

print_first_steps() {
    local address hbctl business
    address=$(http_address)
    hbctl=$(tool_words hbctl)
    business=$(tool_words business)
    cat <<END

The node is up: $address

The first grab, as root in $ROOT:
  # the business system opens accounts, credits one, sends a packet for it to group 7
  $business POST /business/v1/accounts '{"items":[{"account":1001,"kind":"user"},{"account":1002,"kind":"user"}]}'
  $business POST /business/v1/credits '{"account":1001,"amount_fen":10000,"channel":"manual"}'
  PACKET=\$($business POST /business/v1/packets '{"sender":1001,"kind":"lucky","group":7,"total_fen":1000,"count":5}' | jq -r .packet)

  # a user of group 7 gets his user token, and a money token for this packet
  JWT=\$($hbctl token user 1002 --group 7)
  GRANT=\$($business POST /business/v1/tokens '{"user":1002,"operation":"grab","target":"'\$PACKET'"}')
  TOKEN=\$(jq -r .token <<<"\$GRANT"); SEQUENCE=\$((\$(jq .sequence <<<"\$GRANT") + 1))

  # he grabs
  curl -sS -H "Authorization: Bearer \$JWT" $address/v1/packets/\$PACKET/grab \\
    -d '{"group":7,"token":"'\$TOKEN'","sequence":'\$SEQUENCE'}'
  curl -sS -H "Authorization: Bearer \$JWT" $address/v1/balance

Logs: $NODE/log    State: ./hongbao status    Proof: $hbctl check    Stop: ./hongbao down
END
}

lock_node() {
    mkdir -p "$NODE"
    take_lock "$NODE/.lock" "$1"
}

command_up() {
    local begin
    if help_wanted "$@"; then
        say "usage: ./hongbao up [--config FILE]"
        say "Starts what does not run: MariaDB, persist, dataplane, control, nginx. Installs and"
        say "builds first when needed. Without FILE the node is $DEFAULT_NODE (./run) and"
        say "etc/hongbao.conf there is written at the first start."
        return
    fi
    need_root up
    choose_node "$@"
    [ "${#REST[@]}" -eq 0 ] || usage_error "up does not know '${REST[0]}'"
    begin=$(now_ms)
    say "up: $NODE"
    prepare_programs
    lock_node up
    prepare_node
    [ "$NODE" != "$DEFAULT_NODE" ] || link_run
    start_node
    note "complete after $((($(now_ms) - begin) / 1000)) s"
    print_first_steps
}

command_down() {
    if help_wanted "$@"; then
        say "usage: ./hongbao down [--config FILE]"
        say "Stops nginx, control, dataplane, persist and MariaDB of the node, in this order."
        return
    fi
    need_root down
    choose_node "$@"
    [ "${#REST[@]}" -eq 0 ] || usage_error "down does not know '${REST[0]}'"
    [ -d "$NODE/pid" ] || {
        say "down: $NODE was never started"
        return
    }
    say "down: $NODE"
    lock_node down
    stop_node
}

command_reload() {
    local name=nginx
    if help_wanted "$@"; then
        say "usage: ./hongbao reload [--config FILE]"
        say "The running node takes over changed options: nginx's configuration is written anew and"
        say "nginx reads it, then 'hbctl config reload' tells the others."
        return
    fi
    need_root reload
    choose_node "$@"
    [ "${#REST[@]}" -eq 0 ] || usage_error "reload does not know '${REST[0]}'"
    lock_node reload
    place_config
    make_nginx_config
    if process_alive "$name"; then
        kill -HUP "$(process_pid "$name")"
    fi
    "$NODE/bin/hbctl" -c "$NODE/etc/hongbao.conf" config reload
}

process_rss_mib() {
    awk '/^VmRSS:/ { printf "%d", $2 / 1024 }' "/proc/$1/status" 2>/dev/null || printf 0
}

process_age_s() {
    local start ticks
    start=$(process_start_time "$1") || return 0
    ticks=$(getconf CLK_TCK)
    printf '%s' "$(($(now_ms) / 1000 - start / ticks))"
}

# One line per process: name state pid age rss note
status_rows() {
    local name pid state words
    for name in "${PROCESSES[@]}"; do
        process_wanted "$name" || continue
        pid=0 state=stopped words=
        if process_alive "$name"; then
            pid=$(process_pid "$name")
            state=running
            healthy "$name" || state=unhealthy
            case $(readlink "/proc/$pid/exe") in
            *' (deleted)') words="an older build; down and up renew it" ;;
            esac
        elif [ -e "$NODE/pid/$name" ]; then
            state=dead
            words="up restarts it; see log/$name.log"
        fi
        printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$name" "$state" "$pid" "$(process_age_s "$pid")" \
            "$(process_rss_mib "$pid")" "$words"
    done
}

print_status() {
    local rows=$1 name state pid age rss words
    say "node $NODE"
    printf '%-10s %-10s %8s %10s %8s  %s\n' process state pid 'age s' 'MiB' ''
    while IFS=$'\t' read -r name state pid age rss words; do
        if [ "$pid" = 0 ]; then
            pid=- age=- rss=-
        fi
        printf '%-10s %-10s %8s %10s %8s  %s\n' "$name" "$state" "$pid" "$age" "$rss" "$words"
    done <<<"$rows"
    say "http       $(http_address)"
}

print_status_json() {
    local rows=$1 ok=$2 name state pid age rss words separator=
    printf '{"node":"%s","ok":%s,"http":"%s","processes":[' "$NODE" "$ok" "$(http_address)"
    while IFS=$'\t' read -r name state pid age rss words; do
        printf '%s{"name":"%s","state":"%s","pid":%s,"age_s":%s,"rss_mib":%s}' "$separator" \
            "$name" "$state" "$pid" "${age:-0}" "${rss:-0}"
        separator=,
    done <<<"$rows"
    printf ']}\n'
}

command_status() {
    local rows json=0 ok=true code=0
    if help_wanted "$@"; then
        say "usage: ./hongbao status [--config FILE] [--json]"
        say "Exit code: 0 everything runs, 1 something is dead or unhealthy, 3 nothing runs."
        return
    fi
    need_root status
    choose_node "$@"
    for argument in "${REST[@]}"; do
        [ "$argument" = --json ] || usage_error "status does not know '$argument'"
        json=1
    done
    if [ ! -f "$NODE/etc/hongbao.conf" ]; then
        if [ "$json" -eq 1 ]; then
            printf '{"node":"%s","ok":false,"http":null,"processes":[]}\n' "$NODE"
        else
            say "node $NODE was never started; ./hongbao up starts it"
        fi
        exit 3
    fi
    read_config "$NODE/etc/hongbao.conf"
    rows=$(status_rows)
    if ! grep -qP '\t(running|unhealthy)\t' <<<"$rows"; then
        ok=false code=3
    elif grep -qvP '\trunning\t' <<<"$rows"; then
        ok=false code=1
    fi
    if [ "$json" -eq 1 ]; then
        print_status_json "$rows" "$ok"
    else
        print_status "$rows"
    fi
    exit "$code"
}
