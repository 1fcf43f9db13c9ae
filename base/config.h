/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * One table of options for all processes of a node.
 *
 * From the table come the file parser (libconfig syntax, groups nest the dotted keys), the
 * environment (HB_ + key in capitals, dots as underscores), `-o key=value`, validation, defaults,
 * `--print-config` and docs/options.md. An unknown key, a wrong type or a value out of bounds is an
 * error that names file, line, key and the bounds. Precedence: default < file < environment < -o.
 *
 * Paths of sockets and directories are derived from node.directory (base/paths.h).
 */
#ifndef HB_BASE_CONFIG_H
#define HB_BASE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define HB_CONFIG_TEXT_MAX 256

/* INT(field, key, default, min, max, help)  TEXT(field, key, default, help) */
#define HB_CONFIG_TABLE(INT, TEXT)                                                                 \
	TEXT(node_directory, "node.directory", "/var/lib/hongbao", "everything the node keeps")    \
	INT(node_number, "node.number", 1, 0, 99, "two digits of every order number; unique")      \
	INT(node_realtime, "node.realtime", 1, 0, 1,                                               \
		"lcores and the journal's writer go before all others, where the host allows it")  \
	INT(node_prefault, "node.prefault", 0, 0, 1,                                               \
		"touch all memory that capacity.* allows after a start, beside the service")       \
	TEXT(user_dataplane, "user.dataplane", "hongbao-dataplane", "runs hongbao-dataplane")      \
	TEXT(user_persist, "user.persist", "hongbao-persist", "runs hongbao-persist")              \
	TEXT(user_control, "user.control", "hongbao-control", "runs hongbao-control")              \
	TEXT(user_front, "user.front", "hongbao-front", "runs nginx workers")                      \
	TEXT(user_mysql, "user.mysql", "hongbao-mysql", "runs the private mariadbd")               \
	INT(dataplane_lcores, "dataplane.lcores", 1, 1, 16,                                        \
		"worker lcores: 1, 2, 4, 8 or 16; may exceed the CPUs")                            \
	TEXT(dataplane_cpus, "dataplane.cpus", "",                                                 \
		"CPUs of the lcores, comma separated; empty: spread over all allowed")             \
	TEXT(dataplane_idle, "dataplane.idle", "adaptive",                                         \
		"adaptive: sleep when idle; busy: spin")                                           \
	TEXT(dataplane_ports, "dataplane.ports", "",                                               \
		"DPDK --vdev or PCI arguments, space separated; empty: no UDP frames")             \
	TEXT(dataplane_eal_extra, "dataplane.eal_extra", "",                                       \
		"more EAL arguments, space separated")                                             \
	INT(dataplane_clients_max, "dataplane.clients_max", 128, 1, 1024, "attached clients")      \
	INT(dataplane_parked_max, "dataplane.parked_max", 8192, 64, 65536,                         \
		"replies of one partition that wait for their commit; a power of two")             \
	INT(dataplane_mark_interval_s, "dataplane.mark_interval_s", 30, 1, 3600,                   \
		"a state hash per partition goes into the journal this often, if it changed")      \
	TEXT(port_address, "port.address", "",                                                     \
		"IPv4 address of the ports in dataplane.ports, for frames over UDP")               \
	INT(port_udp_base, "port.udp_base", 7400, 1024, 65000,                                     \
		"UDP port of lcore 0; lcore i has this + i")                                       \
	INT(clock_step_ms_max, "clock.step_ms_max", 5000, 100, 3600000,                            \
		"a larger clock jump stops money operations until an operator confirms")           \
	INT(clock_gap_s_max, "clock.gap_s_max", 2592000, 60, 315360000,                            \
		"a longer time since the last record stops them too")                              \
	INT(capacity_accounts, "capacity.accounts", 524288, 1024, 16777216, "slots per partition") \
	INT(capacity_packets, "capacity.packets", 131072, 1024, 16777216, "slots per partition")   \
	INT(capacity_arena_mib, "capacity.arena_mib", 128, 1, 16384, "claims, MiB per partition")  \
	INT(capacity_windows, "capacity.windows", 524288, 1024, 16777216,                          \
		"used money tokens of the last hour, slots per partition")                         \
	INT(capacity_orders, "capacity.orders", 131072, 1024, 16777216, "slots per partition")     \
	INT(capacity_idempotency, "capacity.idempotency", 131072, 1024, 16777216,                  \
		"keys of the last 7 days, per partition")                                          \
	INT(capacity_holds, "capacity.holds", 65536, 1024, 16777216, "slots per partition")        \
	INT(capacity_retention_s, "capacity.retention_s", 259200, 1, 31536000,                     \
		"seconds that what is over stays in memory; less as tables fill")                  \
	INT(packet_total_fen_max, "packet.total_fen_max", 20000000, 1, 2000000000, "fen")          \
	INT(packet_count_max, "packet.count_max", 10000, 1, 100000, "shares of one packet")        \
	INT(packet_lifetime_s_max, "packet.lifetime_s_max", 604800, 1, 2592000, "seconds")         \
	INT(order_version, "order.version", 1, 1, 2,                                               \
		"of the numbers of new orders: 1 with the time as a date, 2 with it as a number")  \
	INT(journal_segment_mib, "journal.segment_mib", 64, 1, 1024, "size of a journal segment")  \
	INT(journal_segments_ready, "journal.segments_ready", 4, 2, 64, "zeroed ahead of use")     \
	INT(journal_keep_days, "journal.keep_days", 7, 1, 3650, "packed segments are kept")        \
	INT(journal_volume_mib, "journal.volume_mib", 0, 0, 1073741824,                            \
		"shed at 70, 85, 95 % of this; 0: of the file system")                             \
	INT(snapshot_interval_s, "snapshot.interval_s", 300, 5, 86400, "between snapshot jobs")    \
	INT(snapshot_keep, "snapshot.keep", 3, 2, 100, "snapshots kept")                           \
	TEXT(mysql_socket, "mysql.socket", "", "Unix socket; empty: the node's private server")    \
	TEXT(mysql_host, "mysql.host", "", "host instead of a socket")                             \
	INT(mysql_port, "mysql.port", 3306, 1, 65535, "port of mysql.host")                        \
	TEXT(mysql_user, "mysql.user", "hongbao-persist", "login of the applier")                  \
	TEXT(mysql_password_file, "mysql.password_file", "", "empty: unix_socket login")           \
	TEXT(mysql_database, "mysql.database", "hb_ledger", "schema of the ledger")                \
	TEXT(mysql_control_user, "mysql.control_user", "hongbao-control", "login of control")      \
	TEXT(mysql_control_database, "mysql.control_database", "hb_control", "schema of control")  \
	TEXT(mysql_servers, "mysql.servers", "",                                                   \
		"several servers: NAME=private (private2 to private4 are further private ones), "  \
		"NAME=unix:/path or NAME=tcp:HOST:PORT, spaces between; empty: the one of "        \
		"mysql.socket or mysql.host, called main")                                         \
	TEXT(mysql_shards, "mysql.shards", "",                                                     \
		"shards of each server at the first start, as main:0-7 b:8-15; empty: the first "  \
		"server has all. Later hbctl mysql move-shard changes it")                         \
	TEXT(mysql_replicas, "mysql.replicas", "",                                                 \
		"read replicas for lists, as main=unix:/path: NAME of its server")                 \
	INT(mysql_replica_lag_ms_max, "mysql.replica_lag_ms_max", 2000, 0, 3600000,                \
		"a replica further behind its server is not read")                                 \
	INT(applier_batch_records_max, "applier.batch_records_max", 4096, 1, 65536,                \
		"records in one MySQL transaction; four times as many when it is behind")          \
	INT(applier_interval_ms, "applier.interval_ms", 200, 1, 10000,                             \
		"a smaller batch is written after this long")                                      \
	TEXT(front_listen, "front.listen", "127.0.0.1:8080", "address of the HTTP front")          \
	INT(front_workers, "front.workers", 2, 1, 64, "nginx workers")                             \
	INT(front_timeout_ms, "front.timeout_ms", 2000, 10, 60000,                                 \
		"a request without a reply is answered unknown_outcome after this long")           \
	TEXT(front_listen_frames, "front.listen_frames", "127.0.0.1:7480",                         \
		"address of the framed TCP front; empty: none")                                    \
	TEXT(front_tls_certificate, "front.tls_certificate", "",                                   \
		"file with the certificate chain of both fronts, PEM; empty: no TLS")              \
	TEXT(front_tls_key, "front.tls_key", "", "file with the certificate's key, PEM")           \
	INT(front_requests_per_user, "front.requests_per_user", 0, 0, 1000000,                     \
		"HTTP requests of one user per second, and as many at once; 0: no limit")          \
	INT(front_connections_per_address, "front.connections_per_address", 0, 0, 65535,           \
		"connections of one address to each front; 0: no limit")                           \
	INT(degrade_lag_ms, "degrade.lag_ms", 120000, 100, 86400000,                               \
		"lists are off while a MySQL server is so far behind")                             \
	INT(degrade_busy_per_s, "degrade.busy_per_s", 100, 1, 1000000000,                          \
		"frames answered busy in a second: overload")                                      \
	INT(degrade_step_s, "degrade.step_s", 5, 0, 3600,                                          \
		"what presses lasts so long before one thing more is off")                         \
	INT(degrade_calm_s, "degrade.calm_s", 30, 0, 3600, "and calm before one is on again")      \
	TEXT(alarm_webhook, "alarm.webhook", "",                                                   \
		"alarms are sent to this URL: https, or http on this machine; empty: log only")    \
	TEXT(alarm_ca_file, "alarm.ca_file", "",                                                   \
		"certificates that vouch for alarm.webhook; empty: those of the machine")          \
	INT(alarm_timeout_ms, "alarm.timeout_ms", 5000, 100, 60000, "for one try to send")         \
	INT(alarm_interval_ms, "alarm.interval_ms", 1000, 100, 60000, "between two measures")      \
	INT(alarm_raise_after_s, "alarm.raise_after_s", 5, 0, 3600,                                \
		"an alarm is raised when its value has been bad for so long")                      \
	INT(alarm_clear_after_s, "alarm.clear_after_s", 15, 0, 3600,                               \
		"and cleared when it has been good for so long")                                   \
	INT(alarm_sync_p99_us, "alarm.sync_p99_us", 20000, 100, 60000000,                          \
		"p99 of the journal's writes of the last second")                                  \
	INT(alarm_lag_records, "alarm.lag_records", 100000, 1, 1000000000000,                      \
		"records that a MySQL server may be behind")                                       \
	INT(alarm_lag_ms, "alarm.lag_ms", 60000, 100, 86400000,                                    \
		"time that a MySQL server may be behind")                                          \
	INT(alarm_heartbeat_ms, "alarm.heartbeat_ms", 3000, 2000, 60000, "age of an lcore's turn") \
	INT(alarm_disk_full_h, "alarm.disk_full_h", 24, 1, 8760,                                   \
		"hours until the journal's volume is full")                                        \
	INT(alarm_forged_per_s, "alarm.forged_per_s", 100, 1, 100000000,                           \
		"datagrams with a wrong MAC")                                                      \
	INT(notices_events, "notices.events", 1048576, 1024, 16777216,                             \
		"events kept for streams that come back, rounded up to a power of two, 128 bytes " \
		"each, taken as they come; the default lasts 10 minutes at 1,700 events/s")        \
	INT(notices_tokens, "notices.tokens", 0, 0, 1,                                             \
		"1: money tokens go to the event streams of the users who asked; 0: to the "       \
		"business system, which asks for them")                                            \
	TEXT(security_seccomp, "security.seccomp", "enforce",                                      \
		"calls of the kernel outside a process's list: enforce: end it; log: the "         \
		"kernel's log says so; off")                                                       \
	INT(log_debug, "log.debug", 0, 0, 1, "log debug events too")

/*
 * Options that a running node takes over (`hbctl config reload`), and the process that does. All
 * others need a restart. NGINX's are in the file that the launcher writes.
 */
enum hb_config_process {
	HB_CONFIG_OF_DATAPLANE = 1 << 0,
	HB_CONFIG_OF_PERSIST = 1 << 1,
	HB_CONFIG_OF_CONTROL = 1 << 2,
	HB_CONFIG_OF_NGINX = 1 << 3,
};

#define HB_CONFIG_LIVE_TABLE(LIVE)                                                                 \
	LIVE("dataplane.mark_interval_s", HB_CONFIG_OF_DATAPLANE)                                  \
	LIVE("capacity.retention_s", HB_CONFIG_OF_DATAPLANE)                                       \
	LIVE("packet.total_fen_max", HB_CONFIG_OF_DATAPLANE)                                       \
	LIVE("packet.count_max", HB_CONFIG_OF_DATAPLANE)                                           \
	LIVE("packet.lifetime_s_max", HB_CONFIG_OF_DATAPLANE)                                      \
	LIVE("journal.keep_days", HB_CONFIG_OF_PERSIST)                                            \
	LIVE("snapshot.interval_s", HB_CONFIG_OF_PERSIST)                                          \
	LIVE("front.workers", HB_CONFIG_OF_NGINX)                                                  \
	LIVE("front.timeout_ms", HB_CONFIG_OF_NGINX)                                               \
	LIVE("front.tls_certificate", HB_CONFIG_OF_NGINX)                                          \
	LIVE("front.tls_key", HB_CONFIG_OF_NGINX)                                                  \
	LIVE("front.requests_per_user", HB_CONFIG_OF_NGINX)                                        \
	LIVE("front.connections_per_address", HB_CONFIG_OF_NGINX)                                  \
	LIVE("degrade.lag_ms", HB_CONFIG_OF_CONTROL)                                               \
	LIVE("degrade.busy_per_s", HB_CONFIG_OF_CONTROL)                                           \
	LIVE("degrade.step_s", HB_CONFIG_OF_CONTROL)                                               \
	LIVE("degrade.calm_s", HB_CONFIG_OF_CONTROL)                                               \
	LIVE("alarm.webhook", HB_CONFIG_OF_CONTROL)                                                \
	LIVE("alarm.ca_file", HB_CONFIG_OF_CONTROL)                                                \
	LIVE("alarm.timeout_ms", HB_CONFIG_OF_CONTROL)                                             \
	LIVE("alarm.interval_ms", HB_CONFIG_OF_CONTROL)                                            \
	LIVE("alarm.raise_after_s", HB_CONFIG_OF_CONTROL)                                          \
	LIVE("alarm.clear_after_s", HB_CONFIG_OF_CONTROL)                                          \
	LIVE("alarm.sync_p99_us", HB_CONFIG_OF_CONTROL)                                            \
	LIVE("alarm.lag_records", HB_CONFIG_OF_CONTROL)                                            \
	LIVE("alarm.lag_ms", HB_CONFIG_OF_CONTROL)                                                 \
	LIVE("alarm.heartbeat_ms", HB_CONFIG_OF_CONTROL)                                           \
	LIVE("alarm.disk_full_h", HB_CONFIG_OF_CONTROL)                                            \
	LIVE("alarm.forged_per_s", HB_CONFIG_OF_CONTROL)                                           \
	LIVE("log.debug", HB_CONFIG_OF_DATAPLANE | HB_CONFIG_OF_PERSIST | HB_CONFIG_OF_CONTROL)

struct hb_config {
#define HB_CONFIG_INT(field, key, value, min, max, help) int64_t field;
#define HB_CONFIG_TEXT(field, key, value, help)		 char field[HB_CONFIG_TEXT_MAX];
	HB_CONFIG_TABLE(HB_CONFIG_INT, HB_CONFIG_TEXT)
#undef HB_CONFIG_INT
#undef HB_CONFIG_TEXT
};

/** Set every option to its default. */
void hb_config_defaults(struct hb_config *config);

/**
 * Defaults, then the file (NULL: none), then the environment.
 * @param error on failure: what is wrong, where, and what would be right
 * @return 0 or -EINVAL, -ENOENT, -EACCES
 */
int hb_config_load(struct hb_config *config, const char *path, char error[256]);

/** Which processes take a changed option over while they run: enum hb_config_process, 0: none. */
uint32_t hb_config_live_of(const char *key);

/** An option whose values differ, as text. */
typedef void hb_config_change_fn(
	void *context, const char *key, const char *before, const char *after);
void hb_config_compare(const struct hb_config *before, const struct hb_config *after,
	hb_config_change_fn *change, void *context);

/** Read again what this process was started with: the same file, environment and -o. */
int hb_config_read_again(struct hb_config *fresh, char error[256]);
/** Copy the options that are live in any of `processes` (a mask). */
void hb_config_take_live(
	struct hb_config *running, const struct hb_config *fresh, uint32_t processes);
/**
 * Read again, take over what `processes` may, log every difference, and set the log's level.
 * @return 0, or as hb_config_load with `running` unchanged
 */
int hb_config_reload(struct hb_config *running, uint32_t processes, char error[256]);

/** Set one option from "key=value" (the argument of -o). @return 0 or -EINVAL with `error` */
int hb_config_set(struct hb_config *config, const char *assignment, char error[256]);

/** Print every option as a configuration file, with its help as a comment. */
void hb_config_print(const struct hb_config *config, FILE *out);

/**
 * The options every program has: -c FILE, -o KEY=VALUE, --print-config, --help, --version.
 * Ends the process on --help, --print-config, --version (exit 0) and on errors (exit 2).
 * @param summary what the program does, for --help
 * @return index of the first argument that is not an option
 */
int hb_config_from_arguments(struct hb_config *config, int argc, char **argv, const char *summary);

#endif
