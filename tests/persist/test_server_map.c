/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The shard map: what options and file may say, and the reason for each refusal. Files lie in a
 * directory of their own under /tmp, which is removed at the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "persist/server_map.h"

static struct hb_config config;
static struct hb_server_map map;
static char error[256];
static char directory[64];

static int
setup(void **state)
{
	(void)state;
	hb_config_defaults(&config);
	memset(error, 0, sizeof(error));
	snprintf(directory, sizeof(directory), "/tmp/hb-test-map-XXXXXX");
	return mkdtemp(directory) == NULL ? -1 : 0;
}

static int
teardown(void **state)
{
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/" HB_SERVER_MAP_FILE, directory);
	(void)unlink(path);
	return rmdir(directory);
}

static void
set(char field[HB_CONFIG_TEXT_MAX], const char *text)
{
	snprintf(field, HB_CONFIG_TEXT_MAX, "%s", text);
}

static int
parse(const char *servers, const char *shards)
{
	set(config.mysql_servers, servers);
	set(config.mysql_shards, shards);
	error[0] = 0;
	return hb_server_map_from_config(&map, &config, error);
}

static void
assert_refused(const char *servers, const char *shards, const char *reason)
{
	assert_int_equal(parse(servers, shards), -EINVAL);
	if (strstr(error, reason) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", error, reason);
}

static void
one_server_has_every_shard_when_nothing_is_said(void **state)
{
	(void)state;
	assert_int_equal(parse("", ""), 0);
	assert_int_equal(map.server_count, 1);
	assert_string_equal(map.server[0].name, "main");
	assert_int_equal(hb_server_map_shards(&map, 0), HB_ALL_SHARDS);
	set(config.mysql_host, "db.example");
	config.mysql_port = 3307;
	assert_int_equal(parse("", ""), 0);
	assert_string_equal(map.server[0].primary.host, "db.example");
	assert_int_equal(map.server[0].primary.port, 3307);
}

static void
shards_are_spread_over_four_servers(void **state)
{
	struct hb_config one;
	char text[HB_SERVER_MAP_TEXT_BYTES];

	(void)state;
	assert_int_equal(parse("main=private b=unix:/run/b.sock  c=tcp:127.0.0.1:3307 d=tcp:db.d:1",
				 "d:15,0-2 b:3 main:4-9 c:10-14"),
		0);
	assert_int_equal(map.server_count, 4);
	assert_int_equal(hb_server_map_shards(&map, 0), 0x03f0);
	assert_int_equal(hb_server_map_shards(&map, 3), 0x8007);
	assert_int_equal(map.owner[3], 1);
	hb_server_map_text(&map, text);
	assert_string_equal(text, "main:4-9 b:3 c:10-14 d:0-2,15");
	hb_server_config(&config, &map.server[1].primary, &one);
	assert_string_equal(one.mysql_socket, "/run/b.sock");
	hb_server_config(&config, &map.server[2].primary, &one);
	assert_string_equal(one.mysql_socket, "");
	assert_string_equal(one.mysql_host, "127.0.0.1");
	assert_int_equal(one.mysql_port, 3307);
	set(config.node_directory, "/node");
	assert_int_equal(parse("main=private b=private2", "main:0-7 b:8-15"), 0);
	assert_string_equal(map.server[0].primary.socket, "");
	assert_string_equal(map.server[1].primary.socket, "/node/socket/mysql/mysql2.sock");
}

static void
a_server_may_wait_for_its_first_shard(void **state)
{
	(void)state;
	assert_int_equal(parse("main=private b=unix:/b", ""), 0);
	assert_int_equal(hb_server_map_shards(&map, 0), HB_ALL_SHARDS);
	assert_int_equal(hb_server_map_shards(&map, 1), 0);
}

static void
a_map_that_forgets_or_doubles_a_shard_is_refused_with_the_reason(void **state)
{
	static const char two[] = "a=unix:/a b=unix:/b";

	(void)state;
	assert_refused(two, "a:0-4 b:6-15", "mysql.shards: shard 5 is missing: no server has it");
	assert_refused(two, "a:0-7 b:7-15", "shard 7 is there twice, at a and at b");
	assert_refused(two, "a:0-7,3 b:8-15", "shard 3 is there twice, at a and at a");
	assert_refused(two, "a:0-7 c:8-15", "server c is not defined in mysql.servers");
	assert_refused(two, "a:0-7 b:8-16", "shard 16 does not exist: they are 0 to 15");
	assert_refused(two, "a:0-7 b:15-8", "'15-8' is not a shard or a range");
	assert_refused(two, "a:0-7 b:8-1x", "'8-1x' is not a shard or a range");
	assert_refused(two, "a:0-7 b:8-,15", "'8-' is not a shard or a range");
	assert_refused(two, "a:0-7 b:8-15,", "'' is not a shard or a range");
	assert_refused(two, "a:0-7 b", "'b' is not NAME:SHARDS");
	assert_refused(two, "a:", "'a:' is not NAME:SHARDS");
	assert_refused("", "main:0-14", "shard 15 is missing");
	assert_refused("", "main:0-99999999999999999999", "is not a shard or a range");
}

static void
servers_that_make_no_sense_are_refused_with_the_reason(void **state)
{
	(void)state;
	assert_refused("a", "", "mysql.servers: 'a' is not NAME=private");
	assert_refused("a=b", "", "'a=b' is not NAME=private");
	assert_refused("a=unix:relative", "", "is not NAME=private");
	assert_refused("a=private1", "", "is not NAME=private");
	assert_refused("a=private02", "", "is not NAME=private");
	assert_refused("a=private5", "", "is not NAME=private");
	assert_refused("a=tcp:host", "", "is not NAME=private");
	assert_refused("a=tcp:host:0", "", "is not NAME=private");
	assert_refused("a=tcp:host:65536", "", "is not NAME=private");
	assert_refused("a=tcp::3306", "", "is not NAME=private");
	assert_refused("a.b=private", "", "at most 15 letters, digits, _ and -");
	assert_refused("sixteen_letters_=private", "", "at most 15 letters");
	assert_refused("a=private a=unix:/a", "", "server a is defined twice");
	assert_refused("a=unix:/x b=unix:/x", "", "a and b have the same address");
	set(config.mysql_socket, "/x");
	assert_refused("a=unix:/x", "", "mysql.servers and mysql.socket exclude each other");
}

static void
replicas_belong_to_servers(void **state)
{
	(void)state;
	set(config.mysql_replicas, "b=tcp:10.0.0.2:3306");
	assert_int_equal(parse("a=unix:/a b=unix:/b", "a:0-7 b:8-15"), 0);
	assert_false(map.server[0].replica.given);
	assert_true(map.server[1].replica.given);
	assert_string_equal(map.server[1].replica.host, "10.0.0.2");
	set(config.mysql_replicas, "c=unix:/c");
	assert_refused("a=unix:/a", "", "mysql.replicas: server c is not defined");
	set(config.mysql_replicas, "a=unix:/c a=unix:/d");
	assert_refused("a=unix:/a", "", "server a has two replicas");
}

static void
the_file_wins_over_the_option_and_keeps_a_move(void **state)
{
	struct hb_server_map read;

	(void)state;
	assert_int_equal(parse("a=unix:/a b=unix:/b", "a:0-7 b:8-15"), 0);
	map.owner[5] = 1;
	map.moved_shard = 5;
	map.moved_from = 0;
	map.moved_to = 1;
	assert_int_equal(hb_server_map_store(&map, directory, error), 0);
	assert_int_equal(map.version, 1);
	assert_int_equal(hb_server_map_load(&read, &config, directory, error), 0);
	assert_int_equal(read.version, 1);
	assert_memory_equal(read.owner, map.owner, sizeof(map.owner));
	assert_int_equal(read.moved_shard, 5);
	assert_int_equal(read.moved_to, 1);
	map.moved_shard = HB_NO_SHARD;
	assert_int_equal(hb_server_map_store(&map, directory, error), 0);
	assert_int_equal(hb_server_map_load(&read, &config, directory, error), 0);
	assert_int_equal(read.version, 2);
	assert_int_equal(read.moved_shard, HB_NO_SHARD);
	/* a server of the file that the options do not know any more */
	set(config.mysql_servers, "a=unix:/a");
	set(config.mysql_shards, "");
	assert_int_equal(hb_server_map_load(&read, &config, directory, error), -EINVAL);
	assert_non_null(strstr(error, "server b is not defined in mysql.servers"));
}

static void
a_damaged_file_is_refused(void **state)
{
	static const char *const texts[] = {"", "version 3\n", "shards a:0-15\n",
		"version x\nshards a:0-15\n", "version 3\nshards a:0-14\n",
		"version 3\nshards a:0-15\nmoved 16 a a\n", "version 3\nshards a:0-15\nwhat\n"};
	char path[128];

	(void)state;
	set(config.mysql_servers, "a=unix:/a");
	snprintf(path, sizeof(path), "%s/" HB_SERVER_MAP_FILE, directory);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		FILE *file = fopen(path, "w");

		assert_non_null(file);
		fputs(texts[i], file);
		fclose(file);
		assert_int_equal(hb_server_map_load(&map, &config, directory, error), -EINVAL);
		assert_non_null(strstr(error, path));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			one_server_has_every_shard_when_nothing_is_said, setup, teardown),
		cmocka_unit_test_setup_teardown(
			shards_are_spread_over_four_servers, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_server_may_wait_for_its_first_shard, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_map_that_forgets_or_doubles_a_shard_is_refused_with_the_reason, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			servers_that_make_no_sense_are_refused_with_the_reason, setup, teardown),
		cmocka_unit_test_setup_teardown(replicas_belong_to_servers, setup, teardown),
		cmocka_unit_test_setup_teardown(
			the_file_wins_over_the_option_and_keeps_a_move, setup, teardown),
		cmocka_unit_test_setup_teardown(a_damaged_file_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
