# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The node directory: who owns what, keys, configuration files. See base/paths.h.

random_hex() {
    head -c "$1" /dev/urandom | od -An -v -tx1 | tr -d ' \n'
}

# make_key FILE OWNER TEXT: written once, never changed; readable by its one user.
make_key() {
    local path=$NODE/key/$1
    [ -e "$path" ] && return
    (umask 077 && printf '%s\n' "$3" >"$path.new")
    chown "$2:root" "$path.new"
    chmod 400 "$path.new"
    mv "$path.new" "$path"
}

# Who reads what nginx's master reads: root here, the front's own user in the package, where no
# part of the node is root.
FRONT_MASTER=${FRONT_MASTER:-root}

make_keys() {
    make_key money-token.key "${CONFIG[user.dataplane]}" "$(random_hex 16)"
    make_key frame.keys "${CONFIG[user.dataplane]}" "1 $(random_hex 16) front"
    make_key business.keys "${CONFIG[user.control]}" "demo $(random_hex 32)"
    make_key alarm.keys "${CONFIG[user.control]}" "alarm $(random_hex 32)"
    make_key jwt.keys "$FRONT_MASTER" "main HS256 $(random_hex 32)"
}

make_directories() {
    local name
    install -d -m 755 -o root -g root "$NODE" "$NODE/bin" "$NODE/etc" "$NODE/socket" \
        "$NODE/log" "$NODE/pid"
    install -d -m 755 -o "$FRONT_MASTER" -g root "$NODE/nginx"
    install -d -m 711 -o root -g root "$NODE/key"
    for name in dataplane persist control mysql; do
        install -d -m 2750 -o "${CONFIG[user.$name]}" -g "$GROUP" "$NODE/socket/$name"
    done
    install -d -m 700 -o "${CONFIG[user.control]}" -g "${CONFIG[user.control]}" "$NODE/cases"
    install -d -m 700 -o "${CONFIG[user.persist]}" -g "${CONFIG[user.persist]}" "$NODE/journal"
}

# The processes read a copy: their users may not reach the operator's file.
place_config() {
    install -d -m 755 "$NODE" "$NODE/etc"
    if [ -n "$OPERATOR_CONFIG" ]; then
        [ "$OPERATOR_CONFIG" -ef "$NODE/etc/hongbao.conf" ] ||
            install_file "$OPERATOR_CONFIG" "$NODE/etc/hongbao.conf" 644
    elif [ ! -f "$NODE/etc/hongbao.conf" ]; then
        generate_config "$NODE" "$@"
    fi
    read_config "$NODE/etc/hongbao.conf"
    [ "${CONFIG[node.directory]}" = "$NODE" ] ||
        fail "$NODE/etc/hongbao.conf names another node.directory: ${CONFIG[node.directory]}"
}

# nginx_sections: the sections of the template that are not configured, as sed deletes them.
nginx_sections() {
    [ -n "${CONFIG[front.listen_frames]}" ] || printf '/# \[frames/,/# \]frames/d\n'
    [ -n "${CONFIG[front.tls_certificate]}" ] || printf '/# \[tls/,/# \]tls/d\n'
    [ "${CONFIG[front.requests_per_user]}" != 0 ] || printf '/# \[per_user/,/# \]per_user/d\n'
    [ "${CONFIG[front.connections_per_address]}" != 0 ] ||
        printf '/# \[per_address/,/# \]per_address/d\n'
    [ "${CONFIG[notices.tokens]}" = 1 ] || printf '/# \[tokens/,/# \]tokens/d\n'
    printf '/# [][]\(frames\|tls\|per_user\|per_address\|tokens\)$/d\n'
}

# make_nginx_config [FILE]: fill the template: @NAME@ -> value. Values hold none of the characters sed minds: the
# option table allows letters, digits and . / : _ + - [ ] * only.
make_nginx_config() {
    local module=$NODE/bin/ngx_hb_module.so file=${1:-$NODE/etc/nginx.conf} ssl='' http2=''
    if [ -n "${CONFIG[front.tls_certificate]}" ]; then
        [ -n "${CONFIG[front.tls_key]}" ] ||
            fail "front.tls_certificate is set but front.tls_key is not; set both, or none"
        ssl=' ssl' http2=' http2'
    elif [ -n "${CONFIG[front.tls_key]}" ]; then
        fail "front.tls_key is set but front.tls_certificate is not; set both, or none"
    fi
    sed -e "$(nginx_sections)" \
        -e "s|@NODE@|$NODE|g" -e "s|@MODULE@|$module|g" \
        -e "s|@LISTEN@|${CONFIG[front.listen]}|g" \
        -e "s|@LISTEN_FRAMES@|${CONFIG[front.listen_frames]}|g" \
        -e "s|@SSL@|$ssl|g" -e "s|@HTTP2@|$http2|g" \
        -e "s|@CERTIFICATE@|${CONFIG[front.tls_certificate]}|g" \
        -e "s|@KEY@|${CONFIG[front.tls_key]}|g" \
        -e "s|@PER_USER@|${CONFIG[front.requests_per_user]}|g" \
        -e "s|@PER_ADDRESS@|${CONFIG[front.connections_per_address]}|g" \
        -e "s|@WORKERS@|${CONFIG[front.workers]}|g" \
        -e "s|@USER@|${CONFIG[user.front]}|g" -e "s|@GROUP@|$GROUP|g" \
        -e "s|@TIMEOUT_MS@|${CONFIG[front.timeout_ms]}|g" \
        -e "s|@NODE_NUMBER@|${CONFIG[node.number]}|g" \
        "$ROOT/front/nginx.conf.in" >"$file.new"
    if grep -n '@[A-Z_]*@' "$file.new" >&2; then
        fail "front/nginx.conf.in has names the launcher does not know; see the lines above"
    fi
    mv "$file.new" "$file"
}

prepare_node() {
    place_config "$@"
    ensure_users "${CONFIG[user.dataplane]}" "${CONFIG[user.persist]}" \
        "${CONFIG[user.control]}" "${CONFIG[user.front]}" "${CONFIG[user.mysql]}"
    install_programs "$NODE"
    make_directories
    make_keys
    make_nginx_config
}

# Remove a node directory in which nothing runs.
remove_node() {
    local name
    NODE=$1
    [ -d "$NODE" ] || return 0
    for name in "${PROCESSES[@]}"; do
        process_alive "$name" && fail "$name of $NODE still runs; stop it first"
    done
    rm -rf "$NODE"
}
