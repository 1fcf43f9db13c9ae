# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The demo: a fresh node in a directory of its own, one lucky packet from the credit to the
# order rows in MySQL, and the proof that nothing is missing. Every step is checked; the demo
# fails when an answer is not what it should be.

DEMO_OPTIONS=(capacity.accounts=8192 capacity.packets=4096 capacity.arena_mib=4
    capacity.windows=16384 capacity.orders=8192 capacity.idempotency=8192
    journal.segment_mib=16 journal.segments_ready=2 snapshot.interval_s=60)
GROUP_NUMBER=7
SENDER=1001
GRABBERS=(1002 1003 1004 1005 1006)
LATECOMER=1007
PACKET_FEN=8800

# What listens and which services run: the same before and after the demo.
host_footprint() {
    awk '$4 == "0A" { print FILENAME, $2 }' /proc/net/tcp /proc/net/tcp6 2>/dev/null | sort
    if [ -d /run/systemd/system ]; then
        systemctl list-units --type=service --state=running --no-legend --plain 2>/dev/null |
            awk '{ print $1 }' | grep -vE '^(apt-|packagekit|user@|systemd-|man-db|dpkg-)' | sort
    fi
}

step() {
    STEP=$((${STEP:-0} + 1))
    printf '\n[%d] %s\n' "$STEP" "$*"
}

yuan() {
    printf '%d.%02d yuan' "$(($1 / 100))" "$(($1 % 100))"
}

# expect_json FILTER TEXT WHAT: the jq filter must say true of the text.
expect_json() {
    jq -e "$1" >/dev/null 2>&1 <<<"$2" || fail "demo: $3; the answer was: $2"
}

business() {
    "$ROOT/tools/business-call" -c "$NODE/etc/hongbao.conf" "$@"
}

hbctl() {
    "$NODE/bin/hbctl" -c "$NODE/etc/hongbao.conf" "$@"
}

# user USER METHOD PATH [BODY]: a request of an end user with his signed token.
user() {
    local jwt arguments=(-sS -m 10 -X "$2" "$(http_address)$3")
    jwt=$(hbctl token user "$1" --group "$GROUP_NUMBER")
    [ $# -lt 4 ] || arguments+=(-d "$4" -H 'Content-Type: application/json')
    # The token goes by standard input: a command line can be read by everyone.
    curl -H @- "${arguments[@]}" <<<"Authorization: Bearer $jwt"
}

# The user asks over HTTP; the token itself comes back through the business system only.
money_token() {
    local user=$1 operation=$2 target=${3:-} body answer
    body="{\"operation\":\"$operation\"${target:+,\"target\":\"$target\"}}"
    answer=$(user "$user" POST /v1/tokens "$body")
    expect_json '.status == "asked"' "$answer" "user $user could not ask for a $operation token"
    answer=$(business GET '/business/v1/tokens/asked?limit=10')
    answer=$(jq -c --argjson user "$user" 'first((.items // .tokens)[] | select(.user == $user))' \
        <<<"$answer" 2>/dev/null || true)
    expect_json '.token' "$answer" "the business system did not get the token user $user asked for"
    TOKEN=$(jq -r .token <<<"$answer")
    SEQUENCE=$(($(jq -r .sequence <<<"$answer") + 1))
}

demo_accounts() {
    local account answer items=
    step "The business system opens accounts and credits one: signed API, recorded before answered"
    for account in "$SENDER" "${GRABBERS[@]}" "$LATECOMER"; do
        items+="${items:+,}{\"account\":$account,\"kind\":\"user\"}"
    done
    answer=$(business POST /business/v1/accounts "{\"items\":[$items]}")
    expect_json '.items | length == 7 and all(.status == "ok")' "$answer" "accounts were not opened"
    answer=$(business --key demo-credit-1 POST /business/v1/credits \
        "{\"account\":$SENDER,\"amount_fen\":10000,\"channel\":\"manual\"}")
    expect_json '.status == "ok"' "$answer" "account $SENDER was not credited"
    note "opened $SENDER ${GRABBERS[*]} $LATECOMER; credited $SENDER with $(yuan 10000)"
    answer=$(business --key demo-credit-1 POST /business/v1/credits \
        "{\"account\":$SENDER,\"amount_fen\":10000,\"channel\":\"manual\"}")
    answer=$(user "$SENDER" GET /v1/balance)
    expect_json '.available_fen == 10000' "$answer" "the repeated credit was booked twice"
    note "the same credit sent again changed nothing: balance $(yuan "$(jq .available_fen <<<"$answer")")"
}

demo_send() {
    local answer
    step "User $SENDER sends a lucky packet to group $GROUP_NUMBER: $(yuan $PACKET_FEN), ${#GRABBERS[@]} shares"
    money_token "$SENDER" send
    note "his money token came by the business system: ${TOKEN%-*}-..."
    answer=$(user "$SENDER" POST /v1/packets "{\"kind\":\"lucky\",\"group\":$GROUP_NUMBER,
        \"total_fen\":$PACKET_FEN,\"count\":${#GRABBERS[@]},\"greeting\":\"Happy new year\",
        \"token\":\"$TOKEN\",\"sequence\":$SEQUENCE}")
    expect_json '.status == "ok"' "$answer" "the packet was not sent"
    PACKET=$(jq -r .packet <<<"$answer")
    note "packet $PACKET, order $(jq -r .order_no <<<"$answer")"
    answer=$(user "$SENDER" GET /v1/balance)
    note "balance of $SENDER: available $(yuan "$(jq .available_fen <<<"$answer")")," \
        "frozen $(yuan "$(jq .frozen_fen <<<"$answer")")"
}

demo_grab() {
    local account answer sum=0 amount
    step "The members grab it over HTTP with curl; one share each, answered after the commit"
    for account in "${GRABBERS[@]}"; do
        money_token "$account" grab "$PACKET"
        answer=$(user "$account" POST "/v1/packets/$PACKET/grab" \
            "{\"group\":$GROUP_NUMBER,\"token\":\"$TOKEN\",\"sequence\":$SEQUENCE}")
        expect_json '.status == "ok" and .already == false' "$answer" "user $account got no share"
        amount=$(jq .amount_fen <<<"$answer")
        sum=$((sum + amount))
        note "$account got $(yuan "$amount"), left $(yuan "$(jq .left_fen <<<"$answer")")" \
            "in $(jq .left_count <<<"$answer") shares"
    done
    [ "$sum" -eq "$PACKET_FEN" ] || fail "demo: the shares sum to $sum fen, not $PACKET_FEN"
    note "the shares sum to $(yuan "$sum")"
    answer=$(user "$account" POST "/v1/packets/$PACKET/grab" \
        "{\"group\":$GROUP_NUMBER,\"token\":\"$TOKEN\",\"sequence\":$SEQUENCE}")
    expect_json ".already == true and .amount_fen == $amount" "$answer" "the retry was not answered alike"
    note "$account asks again: still $(yuan "$amount"), nothing booked twice"
    money_token "$LATECOMER" grab "$PACKET"
    answer=$(user "$LATECOMER" POST "/v1/packets/$PACKET/grab" \
        "{\"group\":$GROUP_NUMBER,\"token\":\"$TOKEN\",\"sequence\":$SEQUENCE}")
    expect_json '.status == "sold_out"' "$answer" "user $LATECOMER should have come too late"
    note "$LATECOMER comes too late: $(jq -r .message <<<"$answer")"
}

demo_crash() {
    local before after
    step "The dataplane is killed with signal 9; its memory is not believed, the journal is"
    before=$(user "${GRABBERS[0]}" GET /v1/balance | jq -c '{available_fen, frozen_fen}')
    kill -KILL "$(process_pid dataplane)"
    while process_alive dataplane; do sleep 0.05; done
    start_node
    after=$(user "${GRABBERS[0]}" GET /v1/balance | jq -c '{available_fen, frozen_fen}')
    [ "$before" = "$after" ] || fail "demo: the balance was $before before the crash and is $after"
    note "restarted from snapshot and journal; balance of ${GRABBERS[0]} as before: $after"
}

demo_rows() {
    local rows
    step "The orders in MySQL: one row for the packet, one per share, in 16 tables by account"
    hbctl check --json >"$NODE/log/check.json" || {
        cat "$NODE/log/check.json" >&2
        fail "demo: hbctl check found something wrong"
    }
    rows=$(for table in $(seq -w 0 15); do
        printf "SELECT order_no, account, business, state, amount_fen, LPAD(LOWER(HEX(packet)),16,'0')
            AS packet, 'order_%s' AS 'table' FROM order_%s WHERE account IN (%s) %s\n" "$table" \
            "$table" "$(tr ' ' ',' <<<"$SENDER ${GRABBERS[*]}")" \
            "$([ "$table" = 15 ] && echo 'ORDER BY order_no;' || echo 'UNION ALL')"
    done | mariadb --no-defaults --socket="$NODE/socket/mysql/mysql.sock" --user=root --table \
        "${CONFIG[mysql.database]}") || fail "demo: the order tables could not be read"
    [ "$(grep -c "$PACKET" <<<"$rows")" -eq $((${#GRABBERS[@]} + 1)) ] ||
        fail "demo: not every order is in MySQL: $rows"
    printf '%s\n' "$rows"
    note "$(jq -c . "$NODE/log/check.json")"
}

demo_balances() {
    local account answer
    step "The balances"
    for account in "$SENDER" "${GRABBERS[@]}" "$LATECOMER"; do
        answer=$(user "$account" GET /v1/balance)
        note "$account: available $(yuan "$(jq .available_fen <<<"$answer")")," \
            "frozen $(yuan "$(jq .frozen_fen <<<"$answer")")"
    done
}

demo_stop() {
    local code=$?
    trap - EXIT
    if [ "$code" -ne 0 ]; then
        printf '\ndemo: failed; stopping the node, its logs stay in %s/log\n' "$NODE" >&2
    fi
    stop_node || code=1
    if [ "$code" -eq 0 ] && [ "$DEMO_KEEP" -eq 0 ]; then
        rm -rf "$NODE"
    fi
    exit "$code"
}

command_demo() {
    local begin before after
    if help_wanted "$@"; then
        say "usage: ./hongbao demo [--keep]"
        say "Installs, builds and starts a fresh node in $DEFAULT_NODE-demo, sends a lucky packet"
        say "and lets users grab it over HTTP, shows the books and proves them, stops everything."
        say "--keep: leave the directory of the stopped demo node for a look."
        return
    fi
    DEMO_KEEP=0
    case ${1:-} in
    '') ;;
    --keep) DEMO_KEEP=1 ;;
    *) usage_error "demo does not know '$1'" ;;
    esac
    need_root demo
    begin=$(now_ms)
    before=$(host_footprint)
    NODE=$DEFAULT_NODE-demo
    OPERATOR_CONFIG=
    mkdir -p "$STATE_ROOT"
    exec 8>"$STATE_ROOT/.demo-lock-$CHECKOUT_ID"
    flock -n 8 || fail "another demo of this checkout is under way"

    step "Install and build"
    prepare_programs
    note "done"
    step "Start a fresh node in $NODE: MariaDB, persist, dataplane, control, nginx"
    stop_node
    rm -rf "$NODE"
    mkdir -p "$NODE"
    trap demo_stop EXIT
    trap 'exit 130' INT TERM HUP
    HONGBAO_MYSQL_POOL=128M HONGBAO_MYSQL_LOG=64M
    prepare_node "${DEMO_OPTIONS[@]}"
    start_node
    demo_accounts
    demo_send
    demo_grab
    demo_crash
    demo_balances
    demo_rows
    step "Stop everything"
    stop_node
    after=$(host_footprint)
    [ "$before" = "$after" ] || {
        diff <(printf '%s\n' "$before") <(printf '%s\n' "$after") >&2 || true
        note "listeners or services of this machine changed meanwhile; the demo's own have ended"
    }
    printf '\ndemo: complete in %d s. Next: ./hongbao up\n' $((($(now_ms) - begin) / 1000))
}
