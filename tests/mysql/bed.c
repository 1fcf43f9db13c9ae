/* SPDX-License-Identifier: Apache-2.0 */
/* The bed of the ledger's tests: see bed.h. */
#include "tests/mysql/bed.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "persist/schema.h"
#include "tests/shell.h"

#define SERVER_START_MS 20000

extern char **environ;

static void
server_socket(const struct bed_server *server, char *path, size_t bytes)
{
	snprintf(path, bytes, "%s/mysql.sock", server->directory);
}

static void
sleep_ms(uint32_t ms)
{
	usleep(ms * 1000);
}

static bool
server_answers(const struct bed_server *server)
{
	char error[HB_DB_ERROR_BYTES];
	struct hb_config config;
	struct hb_db *db;

	hb_config_defaults(&config);
	server_socket(server, config.mysql_socket, sizeof(config.mysql_socket));
	if (hb_db_open(&db, &config, "root", 1, error) != 0)
		return false;
	hb_db_close(db);
	return true;
}

void
bed_server_start(struct bed_server *server, const char *argument)
{
	char data[160];
	char socket[128];
	char pid_file[128];
	char temporary[160];
	const char *arguments[] = {"mariadbd", "--no-defaults", data, socket, pid_file, temporary,
		"--skip-networking", "--innodb-buffer-pool-size=512M",
		"--innodb-log-file-size=256M", "--character-set-server=utf8mb4",
		geteuid() == 0 ? "--user=nobody" : "--console", argument, NULL};
	posix_spawn_file_actions_t actions;
	char log[128];

	snprintf(data, sizeof(data), "--datadir=%s", server->data);
	snprintf(socket, sizeof(socket), "--socket=%s/mysql.sock", server->directory);
	snprintf(pid_file, sizeof(pid_file), "--pid-file=%s/pid", server->directory);
	snprintf(temporary, sizeof(temporary), "--tmpdir=%s", server->directory);
	snprintf(log, sizeof(log), "%s/log", server->directory);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0644);
	posix_spawn_file_actions_adddup2(&actions, 1, 2);
	assert_int_equal(posix_spawn(&server->pid, "/usr/sbin/mariadbd", &actions, NULL,
				 (char **)(uintptr_t)arguments, environ),
		0);
	posix_spawn_file_actions_destroy(&actions);
	for (uint64_t until = hb_mono_ns() + SERVER_START_MS * UINT64_C(1000000);
		!server_answers(server);) {
		if (waitpid(server->pid, NULL, WNOHANG) != 0 || hb_mono_ns() > until)
			fail_msg("mariadbd did not start: see %s", log);
		sleep_ms(50);
	}
}

void
bed_server_end(struct bed_server *server, int signal)
{
	if (server->pid <= 0)
		return;
	kill(server->pid, signal);
	waitpid(server->pid, NULL, 0);
	server->pid = 0;
}

void
bed_server_open(struct bed_server *server)
{
	memset(server, 0, sizeof(*server));
	snprintf(server->directory, sizeof(server->directory), "/tmp/hongbao-ledger-XXXXXX");
	assert_non_null(mkdtemp(server->directory));
	assert_int_equal(chmod(server->directory, 0755), 0);
	if (geteuid() == 0) {
		const struct passwd *nobody = getpwnam("nobody");

		assert_non_null(nobody);
		assert_int_equal(chown(server->directory, nobody->pw_uid, nobody->pw_gid), 0);
	}
	snprintf(server->data, sizeof(server->data), "%s/data", server->directory);
	/* in a shared directory a server that starts removes the temporary files of others */
	shell("mariadb-install-db --no-defaults %s --datadir=%s --tmpdir=%s --force --skip-test-db "
	      "--auth-root-authentication-method=normal >%s/install.log 2>&1",
		geteuid() == 0 ? "--user=nobody" : "", server->data, server->directory,
		server->directory);
	bed_server_start(server, NULL);
}

void
bed_server_close(struct bed_server *server)
{
	bed_server_end(server, SIGKILL);
	if (strncmp(server->directory, "/tmp/hongbao-ledger-", 20) == 0)
		shell("rm -rf %s", server->directory);
}

static void
replace_state(struct bed *bed, uint32_t accounts)
{
	const struct hb_capacity capacity = {.accounts = accounts,
		.packets = accounts,
		.arena_bytes = (uint64_t)accounts << 10,
		.windows = accounts,
		.orders = accounts,
		.idempotency = 1024,
		.holds = 1024};

	hb_state_close(&bed->world.state);
	assert_int_equal(hb_state_create(&bed->world.state, &capacity, 7), 0);
	bed->config.capacity_accounts = accounts;
	bed->config.capacity_packets = accounts;
	bed->config.capacity_arena_mib = ((int64_t)accounts << 10 >> 20) + 1;
	bed->config.capacity_windows = accounts;
	bed->config.capacity_orders = accounts;
	bed->config.capacity_idempotency = 1024;
}

void
bed_open(struct bed *bed, struct bed_server *server, const char *name, uint32_t accounts)
{
	struct hb_config *config = &bed->config;
	char directory[512];
	char error[HB_JOURNAL_ERROR_BYTES];

	memset(bed, 0, sizeof(*bed));
	bed->server = server;
	hb_config_defaults(config);
	server_socket(server, config->mysql_socket, sizeof(config->mysql_socket));
	snprintf(config->node_directory, sizeof(config->node_directory), "%s/%s", server->directory,
		name);
	snprintf(config->mysql_database, sizeof(config->mysql_database), "%s", name);
	snprintf(config->mysql_user, sizeof(config->mysql_user), "root");
	config->node_number = 7;
	config->journal_segment_mib = 1;
	config->applier_interval_ms = 20;
	assert_int_equal(mkdir(config->node_directory, 0755), 0);
	world_open(&bed->world);
	bed->world.input.now_ns = hb_wall_ns();
	replace_state(bed, accounts);
	hb_path(directory, config->node_directory, HB_PATH_JOURNAL);
	if (hb_journal_open(&bed->journal, config, directory, 0, error) != 0)
		fail_msg("journal: %s", error);
	assert_int_equal(hb_journal_begin_epoch(&bed->journal, true), 0);
	bed->source.journal_directory = bed->journal.directory;
	bed->source.commit = &bed->journal.commit;
	memcpy(bed->source.stream_id, bed->journal.superblock.stream_id, 16);
}

void
bed_close(struct bed *bed)
{
	bed_applier_stop(bed);
	hb_journal_close(&bed->journal);
	world_close(&bed->world);
}

void
bed_commit(struct bed *bed)
{
	struct world *w = &bed->world;
	const char *fault = NULL;
	uint32_t taken;

	while (bed->fed_bytes < w->journal_bytes) {
		const struct hb_record *record = (const void *)(w->journal + bed->fed_bytes);
		int rc = hb_frame_add(&bed->journal, record->ring, record,
			w->journal_bytes - bed->fed_bytes, &taken, &fault);

		if (rc == 1)
			bed->fed_bytes += taken;
		else if (rc == 0)
			assert_int_equal(hb_frame_write(&bed->journal, NULL), 0);
		else
			fail_msg("record not taken: %s", fault);
	}
	assert_int_equal(hb_frame_write(&bed->journal, NULL), 0);
	/* the world's own copy is not needed any more */
	w->journal_bytes = 0;
	bed->fed_bytes = 0;
}

void
bed_mark(struct bed *bed)
{
	world_deliver(&bed->world);
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		struct hb_frame f = {.operation = HB_OP_MARK,
			.length = sizeof(f),
			.target = hb_system_account(HB_SYSTEM_FEES, i)};

		assert_int_equal(world_ask(&bed->world, &f), HB_STATUS_OK);
	}
}

void
bed_fund(struct bed *bed, uint64_t users)
{
	for (uint64_t user = 1; user <= users; user++)
		assert_int_equal(world_fund(&bed->world, user, 1000000), HB_STATUS_OK);
	bed_commit(bed);
}

static void
send_some(struct bed *bed, uint64_t sender, uint32_t count)
{
	static const char *const greetings[] = {"", "恭喜发财，大吉大利 🧧", "luck"};
	const char *greeting = greetings[world_random(&bed->world) % 3];
	struct hb_frame_packet_create f = {.head = {.operation = HB_OP_PACKET_CREATE,
						   .length = sizeof(f),
						   .target = sender,
						   .user = sender,
						   .group = 7},
		.kind = HB_PACKET_LUCKY,
		.greeting_length = (uint8_t)strlen(greeting),
		.count = count,
		.total_fen = count * 20};

	memcpy(f.greeting, greeting, strlen(greeting));
	if (world_ask(&bed->world, &f) != HB_STATUS_OK)
		return;
	bed->packets[bed->packet_count++ % 64] = bed->world.reply.head.id;
}

static void
transfer_some(struct bed *bed, uint64_t from, uint64_t to)
{
	struct hb_frame_transfer f = {.head = {.operation = HB_OP_TRANSFER,
					      .length = sizeof(f),
					      .target = from,
					      .user = from},
		.to = to,
		.amount_fen = 7};

	world_ask(&bed->world, &f);
}

void
bed_traffic(struct bed *bed, uint64_t users, uint32_t grabs)
{
	struct world *w = &bed->world;

	for (uint32_t i = 0; i < grabs; i++) {
		uint64_t user = world_random(w) % users + 1;

		w->config.order_version = 1 + i / 64 % 2; /* as if restarts had changed it */
		if (i % 50 == 0)
			send_some(bed, user, 100);
		if (i % 97 == 0)
			transfer_some(bed, user, user % users + 1);
		if (bed->packet_count > 0) {
			uint32_t known = bed->packet_count < 64 ? bed->packet_count : 64;

			world_grab(w, bed->packets[world_random(w) % known], user, 7);
		}
		if (i % 16 == 0)
			world_advance_ms(w, 1);
		if (i % 512 == 0) {
			world_deliver(w);
			bed_commit(bed);
		}
	}
	if (bed->packet_count > 4) { /* let one expire */
		struct hb_frame f = {.operation = HB_OP_PACKET_EXPIRE,
			.length = sizeof(f),
			.target = bed->packets[0]};

		world_advance_ms(w, UINT64_C(86400) * 1000);
		world_ask(w, &f);
	}
	world_deliver(w);
	bed_commit(bed);
}

void
bed_applier_start(struct bed *bed)
{
	char error[256];

	if (hb_applier_start(&bed->applier, &bed->config, &bed->source, error) != 0)
		fail_msg("applier: %s", error);
}

void
bed_applier_stop(struct bed *bed)
{
	hb_applier_stop(bed->applier);
	bed->applier = NULL;
}

struct hb_applier_status
bed_wait(struct bed *bed, uint64_t seq, uint32_t timeout_ms)
{
	uint64_t until = hb_mono_ns() + UINT64_C(1000000) * timeout_ms;
	struct hb_applier_status status;

	for (;;) {
		assert_int_equal(hb_applier_status(bed->applier, &status, 1), 1);
		if (status.seq >= seq || status.state == HB_APPLIER_POISONED ||
			hb_mono_ns() > until)
			return status;
		sleep_ms(2);
	}
}

struct hb_applier_status
bed_wait_state(struct bed *bed, enum hb_applier_state state, uint32_t timeout_ms)
{
	uint64_t until = hb_mono_ns() + UINT64_C(1000000) * timeout_ms;
	struct hb_applier_status status;

	for (;;) {
		assert_int_equal(hb_applier_status(bed->applier, &status, 1), 1);
		if (status.state == state || hb_mono_ns() > until)
			return status;
		sleep_ms(2);
	}
}

static struct hb_db *
open_database(struct bed *bed)
{
	char error[HB_DB_ERROR_BYTES];
	char use[300];
	struct hb_db *db;

	if (hb_db_open(&db, &bed->config, "root", 5, error) != 0)
		fail_msg("%s", error);
	snprintf(use, sizeof(use), "USE `%s`", bed->config.mysql_database);
	if (hb_db_execute(db, use, error) != 0)
		fail_msg("%s", error);
	return db;
}

void
bed_sql(struct bed *bed, const char *format, ...)
{
	struct hb_db *db = open_database(bed);
	char error[HB_DB_ERROR_BYTES];
	char sql[2048];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(sql, sizeof(sql), format, arguments);
	va_end(arguments);
	if (hb_db_execute(db, sql, error) != 0)
		fail_msg("%s", error);
	hb_db_close(db);
}

struct number {
	int64_t value;
};

static int
keep_number(void *context, const void *row)
{
	*(int64_t *)context = ((const struct number *)row)->value;
	return 0;
}

static int64_t
number_of(struct hb_db *db, const char *sql)
{
	static const struct hb_db_column column = HB_DB_COLUMN(HB_DB_I64, struct number, value);
	char error[HB_DB_ERROR_BYTES];
	struct hb_db_statement *select;
	struct number row;
	int64_t value = 0;

	if (hb_db_prepare(db, sql, NULL, 0, &column, 1, &select, error) != 0 ||
		hb_db_query(select, NULL, &row, keep_number, &value, error) != 0)
		fail_msg("%s: %s", sql, error);
	return value;
}

int64_t
bed_number(struct bed *bed, const char *format, ...)
{
	struct hb_db *db = open_database(bed);
	char sql[2048];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(sql, sizeof(sql), format, arguments);
	va_end(arguments);
	int64_t value = number_of(db, sql);

	hb_db_close(db);
	return value;
}

int64_t
bed_number_all(struct bed *bed, const char *sql)
{
	struct hb_db *db = open_database(bed);
	int64_t sum = 0;

	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		char text[2048];

		snprintf(text, sizeof(text), "%s", sql);
		for (char *at = strstr(text, "NN"); at != NULL; at = strstr(at, "NN")) {
			at[0] = (char)('0' + i / 10);
			at[1] = (char)('0' + i % 10);
		}
		sum += number_of(db, text);
	}
	hb_db_close(db);
	return sum;
}
