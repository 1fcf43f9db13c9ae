/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * hbctl: the operator's command line. What its files share.
 *
 * One process, one thread, one verb. `commands.c` holds the one table of verbs, from which come
 * help, errors with suggestions, and shell completion. A verb builds its answer as JSON and prints
 * either that (--json, docs/hbctl.md) or a text made from it, so both say the same.
 *
 * hbctl owns nothing that outlives it: when it dies, the dataplane frees its ring, and persist
 * sees its admin connection end. Only `check` holds something back (the appliers), and gives it
 * free again also on SIGINT and SIGTERM.
 */
#ifndef HBCTL_H
#define HBCTL_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include "base/config.h"
#include "base/paths.h"
#include "shm/client.h"
#include "shm/frame.h"
#include "shm/node.h"

/* Exit codes; part of the contract. */
enum hbctl_exit {
	HBCTL_OK = 0,
	HBCTL_WRONG = 1,       /* found something wrong, or was refused */
	HBCTL_USAGE = 2,       /* usage or configuration */
	HBCTL_UNREACHABLE = 3, /* the node, or what the verb needs of it, does not answer */
};

#define HBCTL_POSITIONAL_MAX  8
#define HBCTL_OPTIONS_MAX     64
#define HBCTL_ASSIGNMENTS_MAX 32
#define HBCTL_ERROR_BYTES     1024
#define HBCTL_NAME_BYTES      48
#define HBCTL_MONEY_BYTES     32
#define HBCTL_TIME_BYTES      40
#define HBCTL_CALL_TIMEOUT_MS 10000

struct hbctl;

struct hbctl_option {
	const char *name;  /* with its dashes; NULL ends a list */
	const char *value; /* what the value is called, NULL for a flag */
	bool repeats;
	const char *help;
};

struct hbctl_command {
	const char *name;		    /* one or two words */
	const char *arguments;		    /* "ACCOUNT OPERATION [TARGET]": [x] may be left out */
	const char *summary;		    /* one line */
	const char *details;		    /* paragraphs */
	const char *example;		    /* lines to type */
	const struct hbctl_option *options; /* NULL: none */
	bool needs_node;		    /* refuse to run when no configuration was found */
	int (*run)(struct hbctl *hbctl);
};

struct hbctl {
	const struct hbctl_command *command;
	bool json;
	bool help;
	bool version;
	const char *config_argument;		       /* of -c, NULL when not given */
	const char *assignment[HBCTL_ASSIGNMENTS_MAX]; /* of -o */
	int assignment_count;
	const char *positional[HBCTL_POSITIONAL_MAX];
	int positional_count;
	struct {
		const struct hbctl_option *option;
		const char *value;
	} option[HBCTL_OPTIONS_MAX];
	int option_count;

	struct hb_config config;
	char config_path[HB_PATH_MAX]; /* "" when there is none */
	FILE *out;
	FILE *err;

	struct hb_client *client; /* attached when a verb asked for it */
	int persist_fd;		  /* admin connection, -1 when there is none */
	char *persist_unread;	  /* rest behind the last line, owned */
	size_t persist_unread_bytes;
};

/* commands.c */

/** The table, ended by a NULL name. */
extern const struct hbctl_command hbctl_commands[];
extern const struct hbctl_option hbctl_global_options[];

/** The command of this name (words joined by one space), or NULL. */
const struct hbctl_command *hbctl_command_find(const char *name);
/** True when some command has two words and this is the first of them. */
bool hbctl_is_group(const char *word);
/** What the user may have meant by an unknown name, or NULL. Compared by distance of letters. */
const char *hbctl_suggest(const char *name);
void hbctl_help_all(FILE *out);
void hbctl_help_command(const struct hbctl_command *command, FILE *out);
void hbctl_help_manual(FILE *out);
/** Print candidates for the last of the words, one a line. */
void hbctl_complete(int word_count, char **words, FILE *out);
/** How many positional arguments a command takes, counted from its `arguments`. */
void hbctl_arity(const struct hbctl_command *command, int *min, int *max);

/* arguments.c */

/**
 * Parse a command line. Global options may stand anywhere.
 * @param error filled on failure: what is wrong and what would be right
 * @return HBCTL_OK or HBCTL_USAGE
 */
int hbctl_parse(struct hbctl *hbctl, int argc, char **argv, char error[HBCTL_ERROR_BYTES]);
/** Find and load the configuration. @return HBCTL_OK or HBCTL_USAGE with `error` */
int hbctl_load_config(struct hbctl *hbctl, char error[HBCTL_ERROR_BYTES]);
/** Value of an option, NULL when absent; "" for a flag that was given. */
const char *hbctl_option_value(const struct hbctl *hbctl, const char *name);
bool hbctl_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *value);
/** "90", "90s", "15m", "1h", "7d" -> seconds; 1 s .. 10 years. */
bool hbctl_parse_duration(const char *text, uint64_t *seconds);
bool hbctl_parse_account(const char *text, uint64_t *account);
/** "12", "12.3", "12.34" yuan -> fen, 0 .. fen_max; whole numbers all the way. */
bool hbctl_parse_money(const char *text, int64_t fen_max, int64_t *fen);
/** 16 hexadecimal digits of a packet. */
bool hbctl_parse_packet(const char *text, uint64_t *packet);

/* output.c */

/** Yuan with two decimals. */
void hbctl_money(char text[HBCTL_MONEY_BYTES], int64_t fen);
/** Beijing time for people, with milliseconds; "-" for 0. */
void hbctl_time(char text[HBCTL_TIME_BYTES], uint64_t unix_ms);
/** Name of an account for people: its number, or "clearing_manual/3" of a system account. */
void hbctl_account_name(char text[HBCTL_NAME_BYTES], uint64_t account);
const char *hbctl_storage_name(uint32_t level);
/** Print an answer as one line and free it. */
void hbctl_print_json(struct hbctl *hbctl, json_t *answer);
/** Say what is wrong on standard error, with --json also as an object. @return exit_code */
int hbctl_fail(struct hbctl *hbctl, int exit_code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/** Refused by the engine: status, its name and its advice. @return HBCTL_WRONG */
int hbctl_refused(struct hbctl *hbctl, const char *what, uint16_t status);
/** Members of an object, with a default where they are missing. */
int64_t hbctl_json_i64(const json_t *object, const char *key);
const char *hbctl_json_text(const json_t *object, const char *key);
/** A string from outside: what is not UTF-8 becomes question marks. */
json_t *hbctl_json_string(const char *text);
json_t *hbctl_json_hex(const uint8_t *bytes, size_t count);
json_t *hbctl_json_packet(uint64_t packet);

/* engine.c */

/** Attach to the dataplane, once. @return 0 or -errno with `error` */
int hbctl_engine_open(struct hbctl *hbctl, char error[HBCTL_ERROR_BYTES]);
/** Give the ring back; also when the dataplane hung up. */
void hbctl_engine_close(struct hbctl *hbctl);
/** True when the dataplane we were attached to is gone. */
bool hbctl_engine_gone(const struct hbctl *hbctl);
/** Counters and lcore lines of the attached dataplane. */
const struct hb_node *hbctl_engine_node(const struct hbctl *hbctl);
/**
 * Send a frame whose operation and body are set; head fields that every frame needs are added.
 * @param reply HB_REPLY_BYTES_MAX bytes
 * @return 0, or -errno with `error`
 */
int hbctl_engine_call(struct hbctl *hbctl, struct hb_frame *frame, uint32_t frame_bytes,
	struct hb_reply *reply, uint32_t timeout_ms, char error[HBCTL_ERROR_BYTES]);
/** One head-only frame to a partition, addressed by its clearing account. */
int hbctl_engine_call_partition(struct hbctl *hbctl, enum hb_operation operation,
	uint32_t partition, struct hb_reply *reply, uint32_t timeout_ms,
	char error[HBCTL_ERROR_BYTES]);
/**
 * One head-only frame to all partitions, in order.
 * @param what for messages
 * @param as_of_seq newest sequence that a reply depends on
 * @return HBCTL_OK, or the exit code of what was said
 */
int hbctl_engine_tell_all(
	struct hbctl *hbctl, enum hb_operation operation, const char *what, uint64_t *as_of_seq);

/* persist_admin.c */

/** Connect to persist's admin socket, once. @return 0 or -errno with `error` */
int hbctl_persist_open(struct hbctl *hbctl, char error[HBCTL_ERROR_BYTES]);
void hbctl_persist_close(struct hbctl *hbctl);
/**
 * One command, one answer.
 * @param command a JSON text without line ends
 * @return the answer (owned by the caller), also when it says "ok":false; NULL with `error`
 */
json_t *hbctl_persist_call(
	struct hbctl *hbctl, const char *command, int timeout_ms, char error[HBCTL_ERROR_BYTES]);

/* as_persist.c */

/** Give up root for the persist user, for good. @return 0 or -errno with `error` */
int hbctl_become_persist(const struct hbctl *hbctl, char error[HBCTL_ERROR_BYTES]);
/** Work of a child. @return the answer, or NULL with `error` */
typedef json_t *hbctl_child_fn(
	struct hbctl *hbctl, const void *context, char error[HBCTL_ERROR_BYTES]);
/**
 * Run `work` in a child that is the persist user.
 * @param stop NULL, or set by a signal handler: the child is ended
 * @return its answer, {"ok":false,"error":…} when it gave none; NULL with `error` when it died
 */
json_t *hbctl_in_child(struct hbctl *hbctl, hbctl_child_fn *work, const void *context,
	const volatile sig_atomic_t *stop, char error[HBCTL_ERROR_BYTES]);

/* verb_check.c */

/** Let stopped appliers go on. @return 0 or -errno with `error` */
int hbctl_appliers_resume(struct hbctl *hbctl, char error[HBCTL_ERROR_BYTES]);
/** Be the only hbctl of this node that stops the appliers, until the exit. @return false: another
 * is
 */
bool hbctl_appliers_alone(const struct hbctl *hbctl);

/* ledger.c */

/**
 * Look one thing up in MySQL, at one consistent cut, in the form that the engine's answer has.
 * To be used as `work`.
 * @param context struct hbctl_ledger_key
 */
hbctl_child_fn hbctl_ledger_read;
struct hbctl_ledger_key {
	uint64_t account;     /* or 0 */
	uint64_t packet;      /* or 0 */
	const char *order_no; /* or NULL */
};

/* verb_engine.c */

/** Members "dataplane" (key: value) and "labels" of a node segment, by what its labels say. */
void hbctl_counters_add(json_t *answer, const struct hb_node *node);
/** The counters of one process out of such an answer, a line each. */
void hbctl_counters_print(struct hbctl *hbctl, const char *process, const json_t *answer);

/* verb_look.c */

/**
 * A packet with all its claims: from the engine, or MySQL when the engine is down or has
 * forgotten it.
 * @return HBCTL_OK with *packet (the caller's), or the exit code of what was said
 */
int hbctl_packet_fetch(struct hbctl *hbctl, uint64_t id, json_t **packet);
/** What MySQL has of an order. @param order_no a number that parses. @return as above */
int hbctl_order_fetch(struct hbctl *hbctl, const char *order_no, json_t **order);

/* packet_verify.c */

/**
 * Compare what a detail tells with what its seed gives.
 * @param detail as hbctl packet --json prints it, or the HTTP API with all pages in one
 * @return {"ok", "verdict": "match", "differs" or "not_revealed", …} (docs/hbctl.md), the
 *         caller's; NULL with `error` when the detail is not whole
 */
json_t *hbctl_packet_verdict(const json_t *detail, char error[HBCTL_ERROR_BYTES]);
/** One detail from the pages in a file. @return the caller's, or NULL with `error` */
json_t *hbctl_packet_read_pages(FILE *file, const char *name, char error[HBCTL_ERROR_BYTES]);

/* control_api.c */

/**
 * One request to control's admin API.
 * @param body JSON text of a POST, NULL for GET
 * @param status HTTP status of the answer
 * @return the answer (owned by the caller; JSON null when it had no body), or NULL with `error`
 *         when control did not answer
 */
json_t *hbctl_control_call(struct hbctl *hbctl, const char *method, const char *path,
	const char *body, int *status, char error[HBCTL_ERROR_BYTES]);
/**
 * POST to control's admin API with an Idempotency-Key.
 * @param key NULL: none
 */
json_t *hbctl_control_post(struct hbctl *hbctl, const char *path, const char *body, const char *key,
	int *status, char error[HBCTL_ERROR_BYTES]);
/** Tell an answer of control that is a refusal, and free it. @return HBCTL_WRONG */
int hbctl_control_refused(struct hbctl *hbctl, json_t *answer, int status);
/** GET of the front's /health. @return 0 when it answered 200, -EAGAIN something else, -EIO nothing
 */
int hbctl_front_health(struct hbctl *hbctl, char error[HBCTL_ERROR_BYTES]);
/** Connect to a Unix socket to see who listens. @return 0 with its pid, or -errno */
int hbctl_probe_unix(const char *path, int *pid);

/* operator.c */

/**
 * Who sits before this terminal: who logged in, called sudo, or is named by --operator.
 * @return HBCTL_OK, or the exit code of what was said
 */
int hbctl_operator(struct hbctl *hbctl, uint32_t *uid, char name[HBCTL_NAME_BYTES]);

/* verb_cases.c */

/** Append an option's value to a path's query. @return HBCTL_OK, or the exit code of what was said
 */
int hbctl_add_query(
	struct hbctl *hbctl, char *path, size_t room, const char *option, const char *name);
/** Show a list of control's, as JSON or item by item with how to go on. Frees the answer. */
int hbctl_show_list(struct hbctl *hbctl, json_t *answer,
	void (*print)(struct hbctl *hbctl, const json_t *item));

/* verb_reload.c */

/** Let the dataplane read keys and options again. @return 0 when it has, or -errno with `error` */
int hbctl_dataplane_reload(struct hbctl *hbctl, char error[HBCTL_ERROR_BYTES]);

/* jwt.c */

#define HBCTL_JWT_KEY_BYTES_MAX 128
#define HBCTL_JWT_BYTES		4096

/**
 * Sign header and claims with HMAC-SHA256 into the compact form.
 * @return 0, or -E2BIG when it does not fit
 */
int hbctl_jwt_sign(char token[HBCTL_JWT_BYTES], const char *header, const char *claims,
	const uint8_t *key, size_t key_bytes);
struct hbctl_jwt_key {
	char kid[64];
	uint8_t secret[HBCTL_JWT_KEY_BYTES_MAX];
	size_t secret_bytes;
};
/**
 * Find a key that can sign in the text of key/jwt.keys.
 * @param kid NULL: the first HS256 key
 * @return 0, or -ENOENT, -ENOTSUP (only a public part is there), -EINVAL with `error`
 */
int hbctl_jwt_key_find(struct hbctl_jwt_key *key, const char *text, const char *kid,
	char error[HBCTL_ERROR_BYTES]);
/**
 * Read a secret: a regular file that nobody but its owner may read.
 * @return the text (the caller wipes and frees it), or NULL with `error`
 */
char *hbctl_key_file_read(const char *path, char error[HBCTL_ERROR_BYTES]);

/* One function per verb. */
int hbctl_run_account(struct hbctl *hbctl);
int hbctl_run_account_freeze(struct hbctl *hbctl);
int hbctl_run_account_unfreeze(struct hbctl *hbctl);
int hbctl_run_adjust_ask(struct hbctl *hbctl);
int hbctl_run_alarms(struct hbctl *hbctl);
int hbctl_run_alarms_test(struct hbctl *hbctl);
int hbctl_run_applier_resume(struct hbctl *hbctl);
int hbctl_run_approve(struct hbctl *hbctl);
int hbctl_run_backup(struct hbctl *hbctl);
int hbctl_run_backup_verify(struct hbctl *hbctl);
int hbctl_run_case(struct hbctl *hbctl);
int hbctl_run_cases(struct hbctl *hbctl);
int hbctl_run_check(struct hbctl *hbctl);
int hbctl_run_clock_confirm(struct hbctl *hbctl);
int hbctl_run_clock_status(struct hbctl *hbctl);
int hbctl_run_config(struct hbctl *hbctl);
int hbctl_run_config_reload(struct hbctl *hbctl);
int hbctl_run_counters(struct hbctl *hbctl);
int hbctl_run_degrade(struct hbctl *hbctl);
int hbctl_run_doctor(struct hbctl *hbctl);
int hbctl_run_help(struct hbctl *hbctl);
int hbctl_run_hold_list(struct hbctl *hbctl);
int hbctl_run_hold_make(struct hbctl *hbctl);
int hbctl_run_hold_post(struct hbctl *hbctl);
int hbctl_run_hold_show(struct hbctl *hbctl);
int hbctl_run_hold_void(struct hbctl *hbctl);
int hbctl_run_import_accounts(struct hbctl *hbctl);
int hbctl_run_import_credits(struct hbctl *hbctl);
int hbctl_run_job(struct hbctl *hbctl);
int hbctl_run_jobs(struct hbctl *hbctl);
int hbctl_run_journal_dump(struct hbctl *hbctl);
int hbctl_run_journal_verify(struct hbctl *hbctl);
int hbctl_run_key_rotate(struct hbctl *hbctl);
int hbctl_run_mark(struct hbctl *hbctl);
int hbctl_run_mysql_checksum(struct hbctl *hbctl);
int hbctl_run_mysql_move_shard(struct hbctl *hbctl);
int hbctl_run_mysql_rebuild(struct hbctl *hbctl);
int hbctl_run_mysql_status(struct hbctl *hbctl);
int hbctl_run_order(struct hbctl *hbctl);
int hbctl_run_orders(struct hbctl *hbctl);
int hbctl_run_packet(struct hbctl *hbctl);
int hbctl_run_packet_verify(struct hbctl *hbctl);
int hbctl_run_restore(struct hbctl *hbctl);
int hbctl_run_sizing(struct hbctl *hbctl);
int hbctl_run_snapshot(struct hbctl *hbctl);
int hbctl_run_snapshot_list(struct hbctl *hbctl);
int hbctl_run_status(struct hbctl *hbctl);
int hbctl_run_token_money(struct hbctl *hbctl);
int hbctl_run_token_user(struct hbctl *hbctl);
int hbctl_run_top(struct hbctl *hbctl);
int hbctl_run_trace(struct hbctl *hbctl);
int hbctl_run_withdraw(struct hbctl *hbctl);

#endif
