# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The configuration as the programs see it: read by asking one of them.

declare -A CONFIG=()

# Any program prints the configuration; take one that is there.
config_program() {
    local program
    for program in "${PROGRAMS[@]:0:3}"; do
        if [ -x "$BUILD/$program" ]; then
            printf '%s\n' "$BUILD/$program"
            return
        fi
    done
    for program in "${PROGRAMS[@]:0:3}"; do
        if [ -x "$NODE/bin/${program##*/}" ]; then
            printf '%s\n' "$NODE/bin/${program##*/}"
            return
        fi
    done
    return 1
}

print_config() {
    local program
    program=$(config_program) || fail "nothing is built yet; run ./hongbao build"
    "$program" "$@" --print-config
}

# Fill CONFIG from a file, as key -> value, defaults included.
read_config() {
    local file=$1 text key value
    text=$(print_config -c "$file") || fail "$file is refused; the line above says why"
    CONFIG=()
    while IFS='=' read -r key value; do
        CONFIG[$key]=$value
    done < <(printf '%s\n' "$text" | awk '
        /^[a-z_]+: \{/ { group = $1; sub(":", "", group) }
        /^\t[a-z_]+ = / {
            key = $1
            value = $0
            sub(/^\t[a-z_]+ = /, "", value)
            sub(/;$/, "", value)
            if (value ~ /^"/) {
                value = substr(value, 2, length(value) - 2)
                gsub(/\\"/, "\"", value)
                gsub(/\\\\/, "\\", value)
            }
            print group "." key "=" value
        }')
    [ -n "${CONFIG[node.directory]:-}" ] || fail "$file could not be understood"
}

# Is a TCP port of this machine listened on? From /proc: ss may not be installed.
port_taken() {
    local hex
    hex=$(printf '%04X' "$1")
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        awk -v port="$hex" '$4 == "0A" { n = split($2, a, ":"); if (a[n] == port) found = 1 }
            END { exit !found }'
}

# free_port OPTION FIRST: the first free TCP port of a hundred.
free_port() {
    local port
    for port in $(seq "$2" $(($2 + 100))); do
        if ! port_taken "$port"; then
            printf '%s\n' "$port"
            return
        fi
    done
    fail "no free TCP port between $2 and $(($2 + 100)); set $1 in a file and use --config"
}

# First start without a file of the operator: every option with its default, free ports.
# More options may follow, as KEY=VALUE.
generate_config() {
    local node=$1 http frames option arguments=()
    shift
    http=$(free_port front.listen 8080)
    frames=$(free_port front.listen_frames 7480)
    [ "$http" = 8080 ] || note "port 8080 is taken; this node listens on $http"
    for option in "node.directory=$node" "front.listen=127.0.0.1:$http" \
        "front.listen_frames=127.0.0.1:$frames" "$@"; do
        arguments+=(-o "$option")
    done
    print_config "${arguments[@]}" >"$node/etc/hongbao.conf.new"
    mv "$node/etc/hongbao.conf.new" "$node/etc/hongbao.conf"
}

# choose_node [--config FILE]: sets NODE and, with a file, OPERATOR_CONFIG.
# Other arguments are kept in REST.
choose_node() {
    NODE=$DEFAULT_NODE
    OPERATOR_CONFIG=
    REST=()
    while [ $# -gt 0 ]; do
        case $1 in
        --config | -c)
            [ $# -ge 2 ] || usage_error "--config needs a file"
            OPERATOR_CONFIG=$2
            shift
            ;;
        --config=*) OPERATOR_CONFIG=${1#--config=} ;;
        *) REST+=("$1") ;;
        esac
        shift
    done
    if [ -n "$OPERATOR_CONFIG" ]; then
        [ -r "$OPERATOR_CONFIG" ] || fail "$OPERATOR_CONFIG cannot be read"
        OPERATOR_CONFIG=$(cd "$(dirname "$OPERATOR_CONFIG")" && pwd -P)/${OPERATOR_CONFIG##*/}
        config_program >/dev/null || prepare_programs
        read_config "$OPERATOR_CONFIG"
        NODE=${CONFIG[node.directory]}
    fi
}
