# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The node's private MariaDB: own user, own files, Unix socket only. Nothing of the
# host's MariaDB or MySQL is read or touched: no file below /etc/mysql, no port.

# The servers are called mysql, mysql2, mysql3 and mysql4 here, and private, private2 … in the
# option mysql.servers. Each has its own files under its name.

# mysql_is_private NAME: does the node run this server?
mysql_is_private() {
    local address=private${1#mysql}
    if [ -n "${CONFIG[mysql.servers]}" ]; then
        grep -qE "=$address( |\$)" <<<"${CONFIG[mysql.servers]}"
        return
    fi
    [ "$1" = mysql ] && [ -z "${CONFIG[mysql.socket]}" ] && [ -z "${CONFIG[mysql.host]}" ]
}

# mysql_pool: an eighth of the machine's memory, which holds the pages that new rows go to: they lie
# all over a table, and a page that is not there is read from the disk first.
mysql_pool() {
    awk '$1 == "MemTotal:" { mib = int($2 / 8192); print (mib > 512 ? mib : 512) "M" }' /proc/meminfo
}

# Written once; the operator may change sizes in it.
make_mysql_config() {
    local name=$1
    [ -f "$NODE/etc/$name.cnf" ] && return
    cat >"$NODE/etc/$name.cnf" <<END
# The private MariaDB of this node. Sizes may be changed; durability may not: the applier
# refuses a server that could forget a committed transaction.
[mysqld]
datadir = $NODE/$name
socket = $NODE/socket/mysql/$name.sock
pid-file = $NODE/$name/mysqld.pid
skip-networking
skip-name-resolve
skip-symbolic-links
local_infile = 0
# Of its own: a server that starts removes the temporary files of others in a shared one.
tmpdir = $NODE/$name-tmp
secure_file_priv = $NODE/$name
performance_schema = 0
max_connections = 64
character-set-server = utf8mb4
collation-server = utf8mb4_bin
default_time_zone = +00:00
sql_mode = STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,NO_ZERO_DATE,NO_ZERO_IN_DATE
innodb_flush_log_at_trx_commit = 1
innodb_doublewrite = 1
innodb_flush_method = O_DIRECT
innodb_snapshot_isolation = 1
innodb_buffer_pool_size = ${HONGBAO_MYSQL_POOL:-$(mysql_pool)}
innodb_log_file_size = ${HONGBAO_MYSQL_LOG:-1G}
END
}

as_mysql() {
    if [ "$EUID" -ne 0 ]; then # the package: already this user
        "$@"
        return
    fi
    setpriv --reuid="${CONFIG[user.mysql]}" --regid="${CONFIG[user.mysql]}" --groups="$GROUP_ID" \
        --inh-caps=-all --bounding-set=-all --no-new-privs "$@"
}

# make_mysql_directories NAME: as root, or as the server's own user when they are there.
make_mysql_directories() {
    install -d -m 700 -o "${CONFIG[user.mysql]}" -g "${CONFIG[user.mysql]}" "$NODE/$1" "$NODE/$1-tmp"
}

# Its data directory is complete only when the mark is there: an interrupted first start begins anew.
# initialise_mysql NAME [LOG]
initialise_mysql() {
    local name=$1 log=${2:-$NODE/log/$1-install.log}
    make_mysql_directories "$name"
    [ -f "$NODE/$name/initialised" ] && return
    note "$name: creating the data directory"
    find "$NODE/$name" -mindepth 1 -delete
    (
        cd "$NODE" || exit 1
        as_mysql mariadb-install-db --defaults-file="$NODE/etc/$name.cnf" --force --skip-test-db \
            --auth-root-authentication-method=socket --auth-root-socket-user=root \
            >"$log" 2>&1
    ) || {
        tail -20 "$log" >&2
        fail "the private MariaDB could not be created; the lines above say why"
    }
    as_mysql touch "$NODE/$name/initialised"
}

# mysql_root NAME ARGUMENT...
mysql_root() {
    local name=$1
    shift
    mariadb --no-defaults --socket="$NODE/socket/mysql/$name.sock" --user=root --batch \
        --skip-column-names "$@"
}

# Logins go by the uid of the connecting process; there are no passwords.
grants_mysql() {
    local ledger=${CONFIG[mysql.database]} work=${CONFIG[mysql.control_database]}
    local persist="'${CONFIG[mysql.user]}'@'localhost'"
    local control="'${CONFIG[mysql.control_user]}'@'localhost'"
    cat <<END
CREATE DATABASE IF NOT EXISTS \`$ledger\` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE DATABASE IF NOT EXISTS \`$work\` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE USER IF NOT EXISTS $persist IDENTIFIED VIA unix_socket;
CREATE USER IF NOT EXISTS $control IDENTIFIED VIA unix_socket;
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, LOCK TABLES
  ON \`$ledger\`.* TO $persist;
GRANT SELECT ON \`$ledger\`.* TO $control;
GRANT ALL PRIVILEGES ON \`$work\`.* TO $control;
END
}

# grant_mysql NAME
grant_mysql() {
    grants_mysql | mysql_root "$1" ||
        fail "the schemas and users could not be created in the private MariaDB"
}
