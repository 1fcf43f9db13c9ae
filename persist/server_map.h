/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Which MySQL servers there are, and which of them has which shard.
 *
 * The servers come from the options (mysql.servers, or mysql.socket and mysql.host for a single
 * one). The shards come from the file `shards` in the journal's directory once it exists, before
 * that from mysql.shards: a move of a shard changes the file, and the file alone says where rows
 * are. It is replaced by rename, so a reader sees one map or the other. Plain data; no memory of
 * its own. If the process dies while it writes, the old file stays.
 */
#ifndef HB_PERSIST_SERVER_MAP_H
#define HB_PERSIST_SERVER_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "shm/limits.h"

#define HB_SERVERS_MAX		 16
#define HB_SERVER_NAME_BYTES	 16
#define HB_SERVER_HOST_BYTES	 128
#define HB_SERVER_MAP_TEXT_BYTES 512
#define HB_SERVER_MAP_FILE	 "shards" /* in the journal's directory */
#define HB_ALL_SHARDS		 ((1u << HB_PARTITION_COUNT) - 1)
#define HB_NO_SHARD		 UINT32_MAX

/* Where a server is reached. Neither socket nor host: the node's private server. */
struct hb_server_address {
	bool given;
	char socket[HB_CONFIG_TEXT_MAX];
	char host[HB_SERVER_HOST_BYTES];
	uint16_t port;
};

struct hb_server {
	char name[HB_SERVER_NAME_BYTES]; /* letters, digits, _ and - */
	struct hb_server_address primary;
	struct hb_server_address replica; /* for lists; may be absent */
};

struct hb_server_map {
	uint32_t server_count;
	struct hb_server server[HB_SERVERS_MAX];
	uint32_t owner[HB_PARTITION_COUNT]; /* index of the server that has the shard */
	uint64_t version;		    /* 0: from the options, never written */
	/* A shard that was moved and whose old rows are not cleared yet; HB_NO_SHARD: none */
	uint32_t moved_shard;
	uint32_t moved_from;
	uint32_t moved_to;
};

/** The map that the options describe. @return 0, or -EINVAL with the reason and the option */
int hb_server_map_from_config(
	struct hb_server_map *map, const struct hb_config *config, char error[256]);

/**
 * The map in force: servers from the options, shards from the file when it is there.
 * @return 0; -EINVAL when the options or the file are wrong; -errno when it cannot be read
 */
int hb_server_map_load(struct hb_server_map *map, const struct hb_config *config,
	const char *journal_directory, char error[256]);

/** Replace the file, durably, with the next version. @return 0 or -errno with `error` */
int hb_server_map_store(struct hb_server_map *map, const char *journal_directory, char error[256]);

/** Bit per shard of a server. */
uint32_t hb_server_map_shards(const struct hb_server_map *map, uint32_t server);
/** @return index, or -1 when no server has that name */
int hb_server_map_find(const struct hb_server_map *map, const char *name);
/** "main:0-4,6 b:5,7-15", as mysql.shards has it. */
void hb_server_map_text(const struct hb_server_map *map, char text[HB_SERVER_MAP_TEXT_BYTES]);
/** "0-4,6"; "" for none. */
void hb_shards_text(uint32_t shards, char text[64]);

/** A copy of the configuration that leads to this server: for hb_db_open and its like. */
void hb_server_config(const struct hb_config *config, const struct hb_server_address *address,
	struct hb_config *copy);

#endif
