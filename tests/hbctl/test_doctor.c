/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl doctor over a node made by hand, with one wrong thing planted at a time. The node belongs
 * to whoever runs the test; MySQL does not run, and its lines are not looked at. It lies in memory
 * where the disk is not the subject.
 */
#include "tests/hbctl/harness.h"

#include <fcntl.h>
#include <ftw.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/paths.h"
#include "base/unix_socket.h"

struct bed {
	struct harness h;
	char node[64];
	json_t *answer;
	int result;
};

static const char *const folders[] = {"", "/journal", "/key", "/cases", "/mysql", "/socket",
	"/socket/dataplane", "/socket/persist", "/socket/control", "/socket/mysql", "/bin", "/etc"};
static const char *const keys[] = {
	"/key/money-token.key", "/key/business.keys", "/key/jwt.keys", "/etc/hongbao.conf"};

static char *
in_node(const struct bed *bed, const char *path)
{
	static char full[256];

	snprintf(full, sizeof(full), "%s%s", bed->node, path);
	return full;
}

static void
write_file(const char *path, mode_t mode, size_t bytes)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	for (size_t i = 0; i < bytes; i++)
		fputc('x', file);
	fclose(file);
	assert_int_equal(chmod(path, mode), 0);
}

/* A node as it should be, of this user, in a fresh folder of `where`. */
static void
make_node(struct bed *bed, const char *where)
{
	struct hb_config *config;
	const char *me = getpwuid(geteuid())->pw_name;

	memset(bed, 0, sizeof(*bed));
	harness_open(&bed->h);
	snprintf(bed->node, sizeof(bed->node), "%s/test-doctor-XXXXXX", where);
	assert_non_null(mkdtemp(bed->node));
	for (size_t i = 1; i < sizeof(folders) / sizeof(folders[0]); i++)
		assert_int_equal(mkdir(in_node(bed, folders[i]), 0700), 0);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		write_file(in_node(bed, keys[i]), 0400, 32);
	config = &bed->h.hbctl.config;
	snprintf(config->node_directory, sizeof(config->node_directory), "%s", bed->node);
	for (size_t i = 0; i < 5; i++) {
		char *const names[] = {config->user_dataplane, config->user_persist,
			config->user_control, config->user_front, config->user_mysql};

		snprintf(names[i], HB_CONFIG_TEXT_MAX, "%s", me);
	}
	snprintf(bed->h.hbctl.config_path, sizeof(bed->h.hbctl.config_path), "%s",
		in_node(bed, "/etc/hongbao.conf"));
	bed->h.hbctl.json = true;
}

static int
remove_entry(const char *path, const struct stat *found, int kind, struct FTW *walk)
{
	(void)found;
	(void)kind;
	(void)walk;
	return remove(path);
}

static void
remove_node(struct bed *bed)
{
	json_decref(bed->answer);
	harness_close(&bed->h);
	nftw(bed->node, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void
examine(struct bed *bed)
{
	bed->result = hbctl_run_doctor(&bed->h.hbctl);
	bed->answer = json_loads(harness_out(&bed->h), 0, NULL);
	assert_non_null(bed->answer);
}

/* The worst that was said under a name; NULL when nothing was. */
static const json_t *
finding(const struct bed *bed, const char *name)
{
	const json_t *worst = NULL;
	size_t index;
	json_t *check;

	json_array_foreach(json_object_get(bed->answer, "checks"), index, check)
	{
		if (strcmp(hbctl_json_text(check, "name"), name) != 0)
			continue;
		if (worst == NULL || strcmp(hbctl_json_text(check, "state"), "fail") == 0)
			worst = check;
	}
	return worst;
}

static void
expect(const struct bed *bed, const char *name, const char *state, const char *words)
{
	const json_t *check = finding(bed, name);

	if (check == NULL)
		fail_msg("nothing was said of %s", name);
	assert_string_equal(hbctl_json_text(check, "state"), state);
	if (strstr(hbctl_json_text(check, "found"), words) == NULL)
		fail_msg("%s: \"%s\" should tell of \"%s\"", name, hbctl_json_text(check, "found"),
			words);
	assert_true((strcmp(state, "ok") == 0) == (json_object_get(check, "advice") == NULL));
	if (strcmp(state, "fail") == 0)
		assert_int_equal(bed->result, HBCTL_WRONG);
}

static void
a_node_as_it_should_be_is_found_well(void **state)
{
	struct bed bed;

	(void)state;
	make_node(&bed, "/tmp");
	examine(&bed);
	expect(&bed, "cpu", "ok", "SSE4.2");
	expect(&bed, "memory", "ok", "MiB for the state");
	expect(&bed, "options", "ok", "hongbao.conf");
	expect(&bed, "users", "ok", "");
	expect(&bed, "folders", "ok", "");
	expect(&bed, "keys", "ok", "");
	expect(&bed, "ports", "ok", "none configured");
	expect(&bed, "seccomp", "ok", "");
	remove_node(&bed);
}

static void
a_filter_that_is_off_warns_and_a_process_without_one_fails(void **state)
{
	struct bed bed;
	char *socket_path;
	int listener;

	(void)state;
	make_node(&bed, "/tmp");
	snprintf(bed.h.hbctl.config.security_seccomp, HB_CONFIG_TEXT_MAX, "log");
	examine(&bed);
	expect(&bed, "seccomp", "warn", "\"log\"");
	remove_node(&bed);

	/* this test, which never entered one, in control's place */
	make_node(&bed, "/tmp");
	socket_path = in_node(&bed, "/" HB_PATH_CONTROL_SOCKET);
	listener = hb_unix_listen(socket_path, SOCK_STREAM, 0600, 1);
	assert_true(listener >= 0);
	examine(&bed);
	expect(&bed, "seccomp", "fail", "control");
	close(listener);
	remove_node(&bed);
}

static void
a_key_that_others_may_read_fails(void **state)
{
	struct bed bed;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		make_node(&bed, "/dev/shm");
		assert_int_equal(chmod(in_node(&bed, keys[i]), i == 1 ? 0440 : 0444), 0);
		examine(&bed);
		expect(&bed, keys[i] + 1, "fail", "others can read");
		assert_null(finding(&bed, "keys"));
		remove_node(&bed);
	}
}

static void
a_key_that_is_missing_or_empty_fails(void **state)
{
	struct bed bed;

	(void)state;
	make_node(&bed, "/dev/shm");
	assert_int_equal(unlink(in_node(&bed, "/key/money-token.key")), 0);
	assert_int_equal(chmod(in_node(&bed, "/key/jwt.keys"), 0600), 0);
	write_file(in_node(&bed, "/key/jwt.keys"), 0400, 0);
	examine(&bed);
	expect(&bed, "key/money-token.key", "fail", "No such file");
	expect(&bed, "key/jwt.keys", "fail", "is empty");
	remove_node(&bed);
}

static void
a_missing_journal_fails_and_is_not_made(void **state)
{
	struct bed bed;

	(void)state;
	make_node(&bed, "/dev/shm");
	assert_int_equal(rmdir(in_node(&bed, "/journal")), 0);
	examine(&bed);
	expect(&bed, "disk", "fail", "No such file");
	expect(&bed, "journal", "fail", "No such file");
	assert_int_not_equal(access(in_node(&bed, "/journal"), F_OK), 0);
	remove_node(&bed);
}

static void
folders_open_to_others_fail(void **state)
{
	struct bed bed;

	(void)state;
	make_node(&bed, "/dev/shm");
	assert_int_equal(chmod(in_node(&bed, "/journal"), 0750), 0);
	assert_int_equal(chmod(in_node(&bed, "/socket/control"), 0755), 0);
	assert_int_equal(chmod(in_node(&bed, "/etc/hongbao.conf"), 0666), 0);
	examine(&bed);
	expect(&bed, "journal", "fail", "0750");
	expect(&bed, "socket/control", "fail", "0755");
	expect(&bed, "options", "fail", "0666");
	remove_node(&bed);
}

static void
a_user_who_is_not_there_fails(void **state)
{
	struct bed bed;

	(void)state;
	make_node(&bed, "/dev/shm");
	snprintf(bed.h.hbctl.config.user_front, HB_CONFIG_TEXT_MAX, "nobody-of-this-name");
	examine(&bed);
	expect(&bed, "users", "fail", "user.front");
	remove_node(&bed);
}

static void
ports_that_cannot_be_had_fail(void **state)
{
	struct bed bed;

	(void)state;
	make_node(&bed, "/dev/shm");
	snprintf(bed.h.hbctl.config.dataplane_ports, HB_CONFIG_TEXT_MAX,
		"--vdev=net_ring0 --vdev=net_af_packet0,iface=no-such-if0");
	examine(&bed);
	expect(&bed, "ports", "fail", "no-such-if0");
	remove_node(&bed);
}

static void
a_state_larger_than_the_machine_fails_and_too_many_lcores_warn(void **state)
{
	struct bed bed;

	(void)state;
	make_node(&bed, "/dev/shm");
	bed.h.hbctl.config.capacity_arena_mib = 16384; /* times 16 partitions */
	bed.h.hbctl.config.capacity_accounts = 16777216;
	bed.h.hbctl.config.dataplane_lcores = 1024; /* more than any set of CPUs holds */
	examine(&bed);
	/* a machine of 256 GiB or more would only be warned, or have room enough */
	if (sysconf(_SC_PHYS_PAGES) / 1024 * sysconf(_SC_PAGESIZE) < 250L * 1024 * 1024)
		expect(&bed, "memory", "fail", "MiB for the state");
	expect(&bed, "cpus", "warn", "for 1024 lcore(s)");
	remove_node(&bed);
}

/* A file of the journal, written so many seconds from now. */
static void
journal_file(const struct bed *bed, const char *name, size_t bytes, time_t offset_s)
{
	struct timespec times[2] = {{.tv_sec = time(NULL) + offset_s}};
	char *path = in_node(bed, name);

	write_file(path, 0600, bytes);
	times[1] = times[0];
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void
a_journal_from_the_future_fails_and_an_old_one_warns(void **state)
{
	struct bed bed;

	(void)state;
	make_node(&bed, "/dev/shm");
	journal_file(&bed, "/journal/superblock", 100, 3600);
	examine(&bed);
	expect(&bed, "journal time", "fail", "in this clock's future");
	remove_node(&bed);
	make_node(&bed, "/dev/shm");
	journal_file(&bed, "/journal/superblock", 100, -40 * 86400);
	examine(&bed);
	expect(&bed, "journal time", "warn", "40 days ago");
	remove_node(&bed);
}

static void
room_is_told_in_days_and_fails_when_it_is_over(void **state)
{
	struct bed bed;
	const size_t mib = 1 << 20;

	(void)state;
	make_node(&bed, "/dev/shm");
	bed.h.hbctl.config.journal_volume_mib = 100;
	journal_file(&bed, "/journal/segment-0000000000000001.packed", mib, -2 * 86400);
	journal_file(&bed, "/journal/segment-0000000000000002.packed", mib, -86400);
	journal_file(&bed, "/journal/segment-0000000000000003.packed", mib, 0);
	examine(&bed);
	expect(&bed, "room", "ok", "1 MiB a day"); /* 3 MiB in 2 days */
	remove_node(&bed);
	make_node(&bed, "/dev/shm");
	bed.h.hbctl.config.journal_volume_mib = 10;
	journal_file(&bed, "/journal/segment-0000000000000001.packed", mib, -2000);
	journal_file(&bed, "/journal/segment-0000000000000002.packed", mib, -1000);
	journal_file(&bed, "/journal/segment-0000000000000003.packed", mib, 0);
	examine(&bed);
	expect(&bed, "room", "warn", ": 0 days");
	remove_node(&bed);
	make_node(&bed, "/dev/shm");
	bed.h.hbctl.config.journal_volume_mib = 2;
	journal_file(&bed, "/journal/segment-0000000000000001.raw", 2 * mib, 0);
	examine(&bed);
	expect(&bed, "room", "fail", "of 2 MiB used");
	remove_node(&bed);
}

static void
a_ledger_in_memory_fails(void **state)
{
	struct bed bed;

	(void)state;
	make_node(&bed, "/dev/shm");
	examine(&bed);
	expect(&bed, "file system", "fail", "tmpfs");
	remove_node(&bed);
}

static void
a_module_that_nginx_does_not_load_fails(void **state)
{
	struct bed bed;

	(void)state;
	make_node(&bed, "/dev/shm");
	write_file(in_node(&bed, "/bin/ngx_hb_module.so"), 0644, 100);
	examine(&bed);
	expect(&bed, "nginx", "fail", "");
	remove_node(&bed);
}

static void
counts_and_exit_code_agree_with_the_lines(void **state)
{
	struct bed bed;
	size_t index;
	json_t *check;
	int failures = 0, warnings = 0;

	(void)state;
	make_node(&bed, "/dev/shm");
	assert_int_equal(rmdir(in_node(&bed, "/journal")), 0);
	examine(&bed);
	json_array_foreach(json_object_get(bed.answer, "checks"), index, check)
	{
		failures += strcmp(hbctl_json_text(check, "state"), "fail") == 0;
		warnings += strcmp(hbctl_json_text(check, "state"), "warn") == 0;
	}
	assert_true(failures >= 2);
	assert_int_equal(hbctl_json_i64(bed.answer, "failures"), failures);
	assert_int_equal(hbctl_json_i64(bed.answer, "warnings"), warnings);
	assert_false(json_is_true(json_object_get(bed.answer, "ok")));
	remove_node(&bed);
}

static void
without_a_node_only_the_machine_is_looked_at(void **state)
{
	struct bed bed;

	(void)state;
	make_node(&bed, "/dev/shm");
	bed.h.hbctl.config_path[0] = '\0';
	examine(&bed);
	expect(&bed, "node", "warn", "no configuration");
	assert_null(finding(&bed, "keys"));
	remove_node(&bed);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_as_it_should_be_is_found_well),
		cmocka_unit_test(a_filter_that_is_off_warns_and_a_process_without_one_fails),
		cmocka_unit_test(a_key_that_others_may_read_fails),
		cmocka_unit_test(a_key_that_is_missing_or_empty_fails),
		cmocka_unit_test(a_missing_journal_fails_and_is_not_made),
		cmocka_unit_test(folders_open_to_others_fail),
		cmocka_unit_test(a_user_who_is_not_there_fails),
		cmocka_unit_test(ports_that_cannot_be_had_fail),
		cmocka_unit_test(a_state_larger_than_the_machine_fails_and_too_many_lcores_warn),
		cmocka_unit_test(a_journal_from_the_future_fails_and_an_old_one_warns),
		cmocka_unit_test(room_is_told_in_days_and_fails_when_it_is_over),
		cmocka_unit_test(a_ledger_in_memory_fails),
		cmocka_unit_test(a_module_that_nginx_does_not_load_fails),
		cmocka_unit_test(counts_and_exit_code_agree_with_the_lines),
		cmocka_unit_test(without_a_node_only_the_machine_is_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
