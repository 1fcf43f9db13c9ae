# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Starting, finding and ending the node's processes. A process is known by its pid and
# its start time together, so a pid that the kernel gave to someone else is never touched.

PROCESSES=(mysql mysql2 mysql3 mysql4 persist dataplane control nginx)

# stat_field PID N: field N of /proc/PID/stat, counted after the name in parentheses.
stat_field() {
    local text fields
    { text=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
    read -ra fields <<<"${text##*) }"
    printf '%s\n' "${fields[$2 - 1]}"
}

process_state() { stat_field "$1" 1; }
process_start_time() { stat_field "$1" 20; }

# process_pid NAME: the recorded pid, whether or not it is alive.
process_pid() {
    local pid start
    read -r pid start 2>/dev/null <"$NODE/pid/$1" || return 1
    [ -n "$pid" ] && [ -n "$start" ] && printf '%s\n' "$pid"
}

process_alive() {
    local pid start
    [ -r "$NODE/pid/$1" ] || return 1
    read -r pid start <"$NODE/pid/$1" || return 1
    [ -n "$start" ] && [ "$(process_start_time "$pid")" = "$start" ] && [ "$(process_state "$pid")" != Z ]
}

# What a dead process left behind in its session, such as nginx workers without their master.
process_leftovers() {
    local leader pid
    leader=$(process_pid "$1") || return 0
    # After the name in parentheses: state, parent, group, session.
    while read -r pid; do
        if [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$NODE" ]; then
            printf '%s\n' "$pid"
        fi
    done < <(cat /proc/[0-9]*/stat 2>/dev/null | awk -v session="$leader" '
        { pid = $1; sub(/^.*\) /, ""); if ($4 == session) print pid }')
}

end_leftovers() {
    local name=$1 pids waited=0
    process_alive "$name" && return
    mapfile -t pids < <(process_leftovers "$name")
    [ "${#pids[@]}" -gt 0 ] || return 0
    note "$name: ending ${#pids[@]} process(es) its predecessor left behind"
    kill -TERM "${pids[@]}" 2>/dev/null || true
    while [ -n "$(process_leftovers "$name")" ]; do
        if [ $((waited += 1)) -gt 50 ]; then
            kill -KILL "${pids[@]}" 2>/dev/null || true
        fi
        [ "$waited" -le 100 ] || fail "$name: processes ${pids[*]} do not end"
        sleep 0.1
    done
}

# launch NAME COMMAND...: in the background, in a session of its own, with its log; records
# pid and start time. The command replaces the shell, so the pid is the process's own.
launch() {
    local name=$1 pid
    shift
    end_leftovers "$name"
    (
        cd "$NODE" || exit 1
        ulimit -c 0
        ulimit -n 65536 2>/dev/null || true
        exec setsid "$@" </dev/null >>"$NODE/log/$name.log" 2>&1 8>&- 9>&-
    ) &
    pid=$!
    disown "$pid"
    printf '%s %s\n' "$pid" "$(process_start_time "$pid")" >"$NODE/pid/$name.new"
    mv "$NODE/pid/$name.new" "$NODE/pid/$name"
}

# Who goes first when the CPUs are short: grabs are protected, the ledger in MySQL may lag. Where
# the kernel groups each session by itself (autogroup), nice counts only within the session, and
# the group has a nice value of its own.
PRIORITISED='echo "$0" 2>/dev/null >/proc/self/autogroup; exec nice -n "$0" "$@"'
AHEAD=(sh -c "$PRIORITISED" -10)
BEHIND=(sh -c "$PRIORITISED" 10)
# Threads that a grab waits for do not wait for anybody's time slice (base/realtime.h).
REALTIME='chrt -f -p "$0" $$ 2>/dev/null; exec "$@"'

# One user, one common group for the sockets, no capabilities, no way to get any.
as_user() {
    printf '%s\n' setpriv "--reuid=$1" "--regid=$1" "--groups=$GROUP_ID" --inh-caps=-all \
        --bounding-set=-all --no-new-privs
}

# What a port's driver needs to open it; the dataplane drops it in every thread afterwards.
port_capabilities() {
    case ${CONFIG[dataplane.ports]} in
    *net_af_packet* | *net_tap* | *net_pcap*) echo +net_raw,+net_admin ;;
    *net_af_xdp*) echo +net_raw,+net_admin,+bpf,+ipc_lock ;;
    esac
}

as_dataplane() {
    local capabilities
    capabilities=$(port_capabilities)
    if [ -z "$capabilities" ]; then
        as_user "${CONFIG[user.dataplane]}"
        return
    fi
    printf '%s\n' setpriv "--reuid=${CONFIG[user.dataplane]}" "--regid=${CONFIG[user.dataplane]}" \
        "--groups=$GROUP_ID" "--inh-caps=-all,$capabilities" "--ambient-caps=-all,$capabilities" \
        "--bounding-set=-all,$capabilities" --no-new-privs
}

# The master reads keys and opens the port as root, then its workers become user.front.
nginx_master() {
    printf '%s\n' setpriv --clear-groups --inh-caps=-all \
        --bounding-set=-all,+setuid,+setgid,+kill,+chown,+net_bind_service --no-new-privs
}

launch_process() {
    local name=$1 config=$NODE/etc/hongbao.conf prefix
    case $name in
    mysql*)
        mapfile -t prefix < <(as_user "${CONFIG[user.mysql]}")
        launch "$name" "${BEHIND[@]}" "${prefix[@]}" mariadbd --defaults-file="$NODE/etc/$name.cnf"
        ;;
    nginx)
        mapfile -t prefix < <(nginx_master)
        launch nginx "${AHEAD[@]}" "${prefix[@]}" nginx -p "$NODE/" -c "$NODE/etc/nginx.conf" \
            -e stderr -g 'daemon off;'
        ;;
    control)
        mapfile -t prefix < <(as_user "${CONFIG[user.control]}")
        launch control "${prefix[@]}" "$NODE/bin/hongbao-control" -c "$config"
        ;;
    dataplane)
        mapfile -t prefix < <(as_dataplane)
        launch dataplane "${AHEAD[@]}" sh -c "$REALTIME" 1 "${prefix[@]}" \
            "$NODE/bin/hongbao-dataplane" -c "$config"
        ;;
    persist)
        mapfile -t prefix < <(as_user "${CONFIG[user.persist]}")
        launch persist "${AHEAD[@]}" sh -c "$REALTIME" 2 "${prefix[@]}" \
            "$NODE/bin/hongbao-persist" -c "$config"
        ;;
    esac
}

# Does a process listen on this Unix socket?
socket_listens() {
    awk -v path="$1" '$8 == path && $4 == "00010000" { found = 1 } END { exit !found }' \
        /proc/net/unix
}

http_address() {
    local listen=${CONFIG[front.listen]} scheme=http
    [ -z "${CONFIG[front.tls_certificate]}" ] || scheme=https
    case $listen in
    '*:'* | 0.0.0.0:*) listen=127.0.0.1:${listen##*:} ;;
    '[::]:'*) listen="[::1]:${listen##*:}" ;;
    esac
    printf '%s://%s\n' "$scheme" "$listen"
}

healthy() {
    case $1 in
    mysql*) mysql_root "$1" -e 'SELECT 1' >/dev/null 2>&1 ;;
    persist) socket_listens "$NODE/socket/persist/link.sock" &&
        socket_listens "$NODE/socket/persist/admin.sock" ;;
    dataplane) socket_listens "$NODE/socket/dataplane/attach.sock" ;;
    control) curl -fsS -m 2 --unix-socket "$NODE/socket/control/admin.sock" \
        http://control/status >/dev/null 2>&1 ;;
    nginx) curl -fsSk -m 2 "$(http_address)/health" >/dev/null 2>&1 ;;
    esac
}

# Seconds a start may take: recovery reads the journal, MariaDB may replay its log.
start_seconds_max() {
    case $1 in
    mysql*) printf '120\n' ;;
    dataplane) printf '300\n' ;;
    *) printf '60\n' ;;
    esac
}

# Seconds an orderly end may take before the process is killed.
stop_seconds_max() {
    case $1 in
    mysql*) printf '60\n' ;;
    *) printf '15\n' ;;
    esac
}

last_lines() {
    printf -- '--- last lines of %s\n' "$NODE/log/$1.log" >&2
    tail -n 15 "$NODE/log/$1.log" >&2 || true
    printf -- '---\n' >&2
}

# What NAME needs may have died while it starts; it would wait for it in vain.
revive_earlier() {
    local other
    for other in "${PROCESSES[@]}"; do
        [ "$other" != "$1" ] || return 0
        process_wanted "$other" || continue
        process_alive "$other" && continue
        note "$other ended while $1 was starting; starting it again"
        start_process "$other"
    done
}

start_process() {
    local name=$1 begin limit next_note=5000 next_look=1000 elapsed
    begin=$(now_ms)
    limit=$(start_seconds_max "$name")
    launch_process "$name"
    until healthy "$name"; do
        elapsed=$(($(now_ms) - begin))
        if ! process_alive "$name"; then
            last_lines "$name"
            fail "$name ended while starting; its last lines are above"
        fi
        if [ "$elapsed" -gt $((limit * 1000)) ]; then
            last_lines "$name"
            fail "$name is not ready after $limit s; it is left running for a look"
        fi
        if [ "$elapsed" -gt "$next_look" ]; then
            revive_earlier "$name"
            next_look=$((elapsed + 1000))
        fi
        if [ "$elapsed" -gt "$next_note" ]; then
            note "$name: not ready yet after $((elapsed / 1000)) s"
            next_note=$((next_note + 5000))
        fi
        sleep 0.05
    done
    elapsed=$(($(now_ms) - begin))
    note "$(printf '%-10s ready after %d.%02d s, pid %s' "$name" $((elapsed / 1000)) \
        $((elapsed % 1000 / 10)) "$(process_pid "$name")")"
}

stop_process() {
    local name=$1 pid begin limit elapsed
    if ! process_alive "$name"; then
        end_leftovers "$name"
        rm -f "$NODE/pid/$name"
        return
    fi
    pid=$(process_pid "$name")
    begin=$(now_ms)
    limit=$(stop_seconds_max "$name")
    case $name in
    nginx) kill -QUIT "$pid" ;;
    *) kill -TERM "$pid" ;;
    esac
    while process_alive "$name"; do
        elapsed=$(($(now_ms) - begin))
        # nginx lets requests under way end first, but not for ever.
        if [ "$name" = nginx ] && [ "$elapsed" -gt 5000 ]; then
            kill -TERM "$pid" 2>/dev/null || true
        fi
        if [ "$elapsed" -gt $((limit * 1000)) ]; then
            note "$name: does not end within $limit s; killing pid $pid"
            kill -KILL "$pid" 2>/dev/null || true
            sleep 0.2
        fi
        sleep 0.05
    done
    end_leftovers "$name"
    rm -f "$NODE/pid/$name"
    note "$name stopped"
}
