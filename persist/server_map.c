/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Texts to maps and back: see the header. Nothing here knows MySQL.
 */
#include "persist/server_map.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"

#define WORD_BYTES	      HB_CONFIG_TEXT_MAX
#define FILE_BYTES_MAX	      2048
#define OWNER_UNKNOWN	      UINT32_MAX
#define SINGLE_NAME	      "main"
#define PORT_MAX	      65535
#define PATH_BYTES	      512
#define PRIVATE_ADDRESS	      "private"
#define PRIVATE_SERVERS_MAX   4 /* as in tools/launcher/mysql.sh */
#define PRIVATE_SOCKET_FORMAT "socket/mysql/mysql%u.sock"
#define SOCKET_PREFIX	      "unix:"
#define HOST_PREFIX	      "tcp:"
#define PREFIX_IS(t, p)	      (strncmp(t, p, sizeof(p) - 1) == 0)

__attribute__((format(printf, 2, 3))) static int
refuse(char error[256], const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(error, 256, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

/* The next word between spaces. @return false at the end; too long a word is cut and refused later
 */
static bool
next_word(const char **text, char word[WORD_BYTES])
{
	size_t length;

	*text += strspn(*text, " \t\n");
	length = strcspn(*text, " \t\n");
	if (length == 0)
		return false;
	snprintf(word, WORD_BYTES, "%.*s", (int)length, *text);
	*text += length;
	return true;
}

static bool
decimal(const char *text, size_t length, uint64_t max, uint64_t *value)
{
	*value = 0;
	if (length == 0 || length > 18)
		return false;
	for (size_t i = 0; i < length; i++) {
		if (!isdigit((unsigned char)text[i]))
			return false;
		*value = *value * 10 + (uint64_t)(text[i] - '0');
	}
	return *value <= max;
}

static bool
is_name(const char *text, size_t length)
{
	if (length == 0 || length >= HB_SERVER_NAME_BYTES)
		return false;
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)text[i]) && text[i] != '_' && text[i] != '-')
			return false;
	return true;
}

static int
find_name(const struct hb_server_map *map, const char *name, size_t length)
{
	for (uint32_t i = 0; i < map->server_count; i++)
		if (strlen(map->server[i].name) == length &&
			memcmp(map->server[i].name, name, length) == 0)
			return (int)i;
	return -1;
}

int
hb_server_map_find(const struct hb_server_map *map, const char *name)
{
	return find_name(map, name, strlen(name));
}

/* ---- servers ---- */

/* "private", or a further private server such as "private2", whose socket is beside the first's. */
static bool
parse_private(const char *text, const char *node_directory, struct hb_server_address *address)
{
	uint64_t number;

	text += sizeof(PRIVATE_ADDRESS) - 1;
	if (text[0] == 0)
		return true;
	if (!decimal(text, strlen(text), PRIVATE_SERVERS_MAX, &number) || number < 2 ||
		text[1] != 0)
		return false;
	return snprintf(address->socket, sizeof(address->socket), "%.200s/" PRIVATE_SOCKET_FORMAT,
		       node_directory, (unsigned int)number) < (int)sizeof(address->socket);
}

static bool
parse_address(const char *text, const char *node_directory, struct hb_server_address *address)
{
	const char *colon;
	uint64_t port;

	memset(address, 0, sizeof(*address));
	address->given = true;
	if (PREFIX_IS(text, PRIVATE_ADDRESS))
		return parse_private(text, node_directory, address);
	if (PREFIX_IS(text, SOCKET_PREFIX)) {
		text += sizeof(SOCKET_PREFIX) - 1;
		snprintf(address->socket, sizeof(address->socket), "%s", text);
		return text[0] == '/';
	}
	if (!PREFIX_IS(text, HOST_PREFIX))
		return false;
	text += sizeof(HOST_PREFIX) - 1;
	colon = strrchr(text, ':');
	if (colon == NULL || colon == text || (size_t)(colon - text) >= sizeof(address->host) ||
		!decimal(colon + 1, strlen(colon + 1), PORT_MAX, &port) || port == 0)
		return false;
	snprintf(address->host, sizeof(address->host), "%.*s", (int)(colon - text), text);
	address->port = (uint16_t)port;
	return true;
}

static bool
same_address(const struct hb_server_address *a, const struct hb_server_address *b)
{
	return strcmp(a->socket, b->socket) == 0 && strcmp(a->host, b->host) == 0 &&
	       a->port == b->port;
}

/* NAME=ADDRESS. @return place of '=' in the word, or -EINVAL */
static int
parse_entry(const struct hb_config *config, const char *option, const char *word,
	struct hb_server_address *address, char *error)
{
	const char *equals = strchr(word, '=');

	if (equals == NULL || !is_name(word, (size_t)(equals - word)) ||
		!parse_address(equals + 1, config->node_directory, address))
		return refuse(error,
			"%s: '%.80s' is not NAME=private (private2 to private%d), NAME=unix:/path "
			"or "
			"NAME=tcp:HOST:PORT (a name has at most %d letters, digits, _ and -)",
			option, word, PRIVATE_SERVERS_MAX, HB_SERVER_NAME_BYTES - 1);
	return (int)(equals - word);
}

static int
parse_servers(struct hb_server_map *map, const struct hb_config *config, char error[256])
{
	const char *text = config->mysql_servers;
	struct hb_server_address address;
	char word[WORD_BYTES];

	while (next_word(&text, word)) {
		int length = parse_entry(config, "mysql.servers", word, &address, error);

		if (length < 0)
			return length;
		word[length] = 0;
		if (hb_server_map_find(map, word) >= 0)
			return refuse(error, "mysql.servers: server %s is defined twice", word);
		for (uint32_t i = 0; i < map->server_count; i++)
			if (same_address(&map->server[i].primary, &address))
				return refuse(error,
					"mysql.servers: %s and %s have the same address; each "
					"server stands there once",
					map->server[i].name, word);
		if (map->server_count == HB_SERVERS_MAX)
			return refuse(error, "mysql.servers: more than %d servers", HB_SERVERS_MAX);
		struct hb_server *server = &map->server[map->server_count++];

		memcpy(server->name, word, (size_t)length + 1);
		server->primary = address;
	}
	return 0;
}

static int
parse_replicas(struct hb_server_map *map, const struct hb_config *config, char error[256])
{
	const char *text = config->mysql_replicas;
	struct hb_server_address address;
	char word[WORD_BYTES];

	while (next_word(&text, word)) {
		int length = parse_entry(config, "mysql.replicas", word, &address, error);
		int server;

		if (length < 0)
			return length;
		word[length] = 0;
		server = hb_server_map_find(map, word);
		if (server < 0)
			return refuse(error,
				"mysql.replicas: server %s is not defined; a replica has the name "
				"of its server in mysql.servers",
				word);
		if (map->server[server].replica.given)
			return refuse(error, "mysql.replicas: server %s has two replicas", word);
		map->server[server].replica = address;
	}
	return 0;
}

/* One server by the options that name one. */
static int
single_server(struct hb_server_map *map, const struct hb_config *config)
{
	struct hb_server *server = &map->server[0];

	map->server_count = 1;
	snprintf(server->name, sizeof(server->name), SINGLE_NAME);
	server->primary.given = true;
	memcpy(server->primary.socket, config->mysql_socket, sizeof(server->primary.socket));
	if (config->mysql_socket[0] != 0 || config->mysql_host[0] == 0)
		return 0;
	if (strlen(config->mysql_host) >= sizeof(server->primary.host))
		return -EINVAL;
	snprintf(server->primary.host, sizeof(server->primary.host), "%.*s",
		HB_SERVER_HOST_BYTES - 1, config->mysql_host);
	server->primary.port = (uint16_t)config->mysql_port;
	return 0;
}

/* ---- shards ---- */

static int
give_shards(struct hb_server_map *map, const char *what, uint32_t server, uint64_t first,
	uint64_t last, char error[256])
{
	for (uint64_t shard = first; shard <= last; shard++) {
		if (map->owner[shard] != OWNER_UNKNOWN)
			return refuse(error,
				"%s: shard %" PRIu64 " is there twice, at %s and at %s", what,
				shard, map->server[map->owner[shard]].name,
				map->server[server].name);
		map->owner[shard] = server;
	}
	return 0;
}

/* "5" or "0-7". */
static bool
parse_range(const char *text, size_t length, uint64_t *first, uint64_t *last)
{
	const char *dash = memchr(text, '-', length);
	size_t head = dash == NULL ? length : (size_t)(dash - text);

	if (!decimal(text, head, UINT32_MAX, first))
		return false;
	*last = *first;
	return dash == NULL || decimal(dash + 1, length - head - 1, UINT32_MAX, last);
}

/* NAME:RANGE[,RANGE…] */
static int
parse_share(struct hb_server_map *map, const char *what, const char *word, char error[256])
{
	const char *colon = strchr(word, ':');
	const char *at;
	int server;

	if (colon == NULL || colon[1] == 0)
		return refuse(error, "%s: '%.80s' is not NAME:SHARDS such as main:0-7 or b:8,10-15",
			what, word);
	server = find_name(map, word, (size_t)(colon - word));
	if (server < 0)
		return refuse(error,
			"%s: server %.*s is not defined in mysql.servers; define it there under "
			"this name",
			what, (int)(colon - word), word);
	for (at = colon + 1;;) {
		size_t length = strcspn(at, ",");
		uint64_t first, last;
		int rc;

		if (!parse_range(at, length, &first, &last) || last < first)
			return refuse(error,
				"%s: '%.*s' is not a shard or a range of shards such as 0-7", what,
				(int)length, at);
		if (last >= HB_PARTITION_COUNT)
			return refuse(error,
				"%s: shard %" PRIu64 " does not exist: they are 0 to %d", what,
				last, HB_PARTITION_COUNT - 1);
		rc = give_shards(map, what, (uint32_t)server, first, last, error);
		if (rc != 0)
			return rc;
		at += length;
		if (*at == 0)
			return 0;
		at++;
	}
}

static int
parse_shards(struct hb_server_map *map, const char *what, const char *text, char error[256])
{
	char word[WORD_BYTES];

	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		map->owner[i] = OWNER_UNKNOWN;
	while (next_word(&text, word)) {
		int rc = parse_share(map, what, word, error);

		if (rc != 0)
			return rc;
	}
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		if (map->owner[i] == OWNER_UNKNOWN)
			return refuse(error, "%s: shard %u is missing: no server has it", what, i);
	return 0;
}

int
hb_server_map_from_config(
	struct hb_server_map *map, const struct hb_config *config, char error[256])
{
	int rc = 0;

	memset(map, 0, sizeof(*map));
	map->moved_shard = HB_NO_SHARD;
	if (config->mysql_servers[strspn(config->mysql_servers, " ")] == 0)
		rc = single_server(map, config);
	else if (config->mysql_socket[0] != 0 || config->mysql_host[0] != 0)
		return refuse(error,
			"mysql.servers and mysql.%s exclude each other: put the "
			"address into mysql.servers",
			config->mysql_socket[0] != 0 ? "socket" : "host");
	else
		rc = parse_servers(map, config, error);
	if (rc == 0)
		rc = parse_replicas(map, config, error);
	/* an empty mysql.shards: the first server has all (owner 0) */
	if (rc == 0 && config->mysql_shards[strspn(config->mysql_shards, " ")] != 0)
		rc = parse_shards(map, "mysql.shards", config->mysql_shards, error);
	return rc;
}

uint32_t
hb_server_map_shards(const struct hb_server_map *map, uint32_t server)
{
	uint32_t shards = 0;

	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++)
		shards |= (uint32_t)(map->owner[i] == server) << i;
	return shards;
}

void
hb_shards_text(uint32_t shards, char text[64])
{
	size_t length = 0;

	text[0] = 0;
	for (uint32_t i = 0; i < HB_PARTITION_COUNT; i++) {
		uint32_t last = i;

		if ((shards >> i & 1) == 0)
			continue;
		while (last + 1 < HB_PARTITION_COUNT && (shards >> (last + 1) & 1) != 0)
			last++;
		length += (size_t)snprintf(
			text + length, 64 - length, "%s%u", length > 0 ? "," : "", i);
		if (last > i)
			length += (size_t)snprintf(text + length, 64 - length, "-%u", last);
		i = last;
	}
}

void
hb_server_map_text(const struct hb_server_map *map, char text[HB_SERVER_MAP_TEXT_BYTES])
{
	size_t length = 0;
	char shards[64];

	text[0] = 0;
	for (uint32_t i = 0; i < map->server_count; i++) {
		hb_shards_text(hb_server_map_shards(map, i), shards);
		if (shards[0] != 0)
			length += (size_t)snprintf(text + length, HB_SERVER_MAP_TEXT_BYTES - length,
				"%s%s:%s", length > 0 ? " " : "", map->server[i].name, shards);
	}
	HB_ASSERT(length < HB_SERVER_MAP_TEXT_BYTES);
}

/* ---- the file ---- */

static void
file_path(char path[PATH_BYTES], const char *directory, const char *suffix)
{
	snprintf(path, PATH_BYTES, "%s/" HB_SERVER_MAP_FILE "%s", directory, suffix);
}

/* "moved SHARD FROM TO" */
static int
parse_moved(struct hb_server_map *map, const char *what, const char *text, char error[256])
{
	char shard_text[WORD_BYTES], from[WORD_BYTES], to[WORD_BYTES];
	uint64_t shard;
	int from_server, to_server;

	if (!next_word(&text, shard_text) || !next_word(&text, from) || !next_word(&text, to) ||
		!decimal(shard_text, strlen(shard_text), HB_PARTITION_COUNT - 1, &shard))
		return refuse(error, "%s: its line 'moved' is damaged", what);
	from_server = hb_server_map_find(map, from);
	to_server = hb_server_map_find(map, to);
	if (from_server < 0 || to_server < 0)
		return refuse(error,
			"%s: shard %" PRIu64 " was moved from %.16s to %.16s and its old rows are "
			"not cleared; define both in mysql.servers until that is done",
			what, shard, from, to);
	map->moved_shard = (uint32_t)shard;
	map->moved_from = (uint32_t)from_server;
	map->moved_to = (uint32_t)to_server;
	return 0;
}

static int
parse_file(struct hb_server_map *map, const char *what, char *text, char error[256])
{
	bool shards = false;
	char *rest = NULL;
	int rc = 0;

	for (char *line = strtok_r(text, "\n", &rest); line != NULL && rc == 0;
		line = strtok_r(NULL, "\n", &rest)) {
		if (PREFIX_IS(line, "version ")) {
			if (!decimal(line + 8, strlen(line + 8), UINT64_MAX, &map->version))
				return refuse(error, "%s: its line 'version' is damaged", what);
		} else if (PREFIX_IS(line, "shards ")) {
			shards = true;
			rc = parse_shards(map, what, line + 7, error);
		} else if (PREFIX_IS(line, "moved ")) {
			rc = parse_moved(map, what, line + 6, error);
		} else {
			return refuse(error, "%s: unknown line '%.40s'", what, line);
		}
	}
	if (rc == 0 && (!shards || map->version == 0))
		return refuse(error, "%s: it has no version or no shards", what);
	return rc;
}

int
hb_server_map_load(struct hb_server_map *map, const struct hb_config *config,
	const char *journal_directory, char error[256])
{
	char text[FILE_BYTES_MAX];
	char path[PATH_BYTES];
	size_t length;
	FILE *file;
	int rc = hb_server_map_from_config(map, config, error);

	if (rc != 0)
		return rc;
	file_path(path, journal_directory, "");
	file = fopen(path, "re");
	if (file == NULL && errno == ENOENT)
		return 0;
	if (file == NULL) {
		rc = -errno;
		snprintf(error, 256, "%.180s: %s", path, strerror(-rc));
		return rc;
	}
	length = fread(text, 1, sizeof(text) - 1, file);
	text[length] = 0;
	fclose(file);
	return parse_file(map, path, text, error);
}

static int
write_file(const char *path, const char *text)
{
	size_t length = strlen(text);
	int rc = 0;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	if (write(fd, text, length) != (ssize_t)length || fsync(fd) != 0)
		rc = errno == 0 ? -EIO : -errno;
	close(fd);
	return rc;
}

static int
sync_directory(const char *directory)
{
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd) != 0)
		rc = -errno;
	close(fd);
	return rc;
}

int
hb_server_map_store(struct hb_server_map *map, const char *journal_directory, char error[256])
{
	char path[PATH_BYTES], temporary[PATH_BYTES];
	char shards[HB_SERVER_MAP_TEXT_BYTES];
	char text[FILE_BYTES_MAX];
	int length, rc;

	hb_server_map_text(map, shards);
	length = snprintf(
		text, sizeof(text), "version %" PRIu64 "\nshards %s\n", map->version + 1, shards);
	if (map->moved_shard != HB_NO_SHARD)
		snprintf(text + length, sizeof(text) - (size_t)length, "moved %u %s %s\n",
			map->moved_shard, map->server[map->moved_from].name,
			map->server[map->moved_to].name);
	file_path(path, journal_directory, "");
	file_path(temporary, journal_directory, ".new");
	rc = write_file(temporary, text);
	if (rc == 0 && rename(temporary, path) != 0)
		rc = -errno;
	if (rc == 0)
		rc = sync_directory(journal_directory);
	if (rc == 0)
		map->version++;
	else
		snprintf(error, 256, "%.180s: %s", temporary, strerror(-rc));
	return rc;
}

void
hb_server_config(const struct hb_config *config, const struct hb_server_address *address,
	struct hb_config *copy)
{
	*copy = *config;
	memcpy(copy->mysql_socket, address->socket, sizeof(copy->mysql_socket));
	snprintf(copy->mysql_host, sizeof(copy->mysql_host), "%s", address->host);
	copy->mysql_port = address->port;
}
