/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl token user, hbctl token money: rights for trying things out. Secrets live in memory only
 * while a token is made; what is printed is the token.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sodium.h>

#include "shm/ids.h"
#include "shm/token.h"
#include "tools/hbctl/hbctl.h"

#define TTL_S_DEFAULT 3600

/* The claims of a user token; NULL with `error` when an option is not a number. */
static json_t *
make_claims(const struct hbctl *hbctl, uint64_t account, uint64_t expiry_s,
	char error[HBCTL_ERROR_BYTES])
{
	char subject[24];
	json_t *groups = json_array();
	json_t *claims;
	uint64_t number;

	snprintf(subject, sizeof(subject), "%" PRIu64, account);
	claims = json_pack("{s:s, s:I}", "sub", subject, "exp", (json_int_t)expiry_s);
	for (int i = 0; i < hbctl->option_count; i++) {
		const char *name = hbctl->option[i].option->name;
		bool is_group = strcmp(name, "--group") == 0;

		if (!is_group && strcmp(name, "--enterprise") != 0)
			continue;
		if (!hbctl_parse_u64(hbctl->option[i].value, 1, HB_ACCOUNT_MAX, &number)) {
			snprintf(error, HBCTL_ERROR_BYTES, "%s %s is not a number in 1..%" PRIu64,
				name, hbctl->option[i].value, HB_ACCOUNT_MAX);
			json_decref(groups);
			json_decref(claims);
			return NULL;
		}
		if (is_group)
			json_array_append_new(groups, json_integer((json_int_t)number));
		else
			json_object_set_new(claims, "ent", json_integer((json_int_t)number));
	}
	if (json_array_size(groups) > 0)
		json_object_set(claims, "groups", groups);
	json_decref(groups);
	return claims;
}

static int
sign(char token[HBCTL_JWT_BYTES], const struct hbctl_jwt_key *key, const json_t *claims)
{
	json_t *header =
		json_pack("{s:s, s:s, s:s}", "alg", "HS256", "typ", "JWT", "kid", key->kid);
	char *header_text = json_dumps(header, JSON_COMPACT);
	char *claims_text = json_dumps(claims, JSON_COMPACT);
	int result =
		hbctl_jwt_sign(token, header_text, claims_text, key->secret, key->secret_bytes);

	json_decref(header);
	free(header_text);
	free(claims_text);
	return result;
}

static int
load_key(struct hbctl *hbctl, struct hbctl_jwt_key *key, char error[HBCTL_ERROR_BYTES])
{
	char path[HB_PATH_MAX];
	char why[HBCTL_ERROR_BYTES] = "";
	char *text;
	int result;

	hb_path(path, hbctl->config.node_directory, HB_PATH_KEY_JWT);
	text = hbctl_key_file_read(path, error);
	if (text == NULL)
		return -1;
	result = hbctl_jwt_key_find(key, text, hbctl_option_value(hbctl, "--kid"), why);
	if (result != 0)
		snprintf(error, HBCTL_ERROR_BYTES, "%.200s: %.300s", path, why);
	sodium_memzero(text, strlen(text));
	free(text);
	return result;
}

int
hbctl_run_token_user(struct hbctl *hbctl)
{
	const char *ttl = hbctl_option_value(hbctl, "--ttl");
	char error[HBCTL_ERROR_BYTES] = "";
	char token[HBCTL_JWT_BYTES];
	struct hbctl_jwt_key key = {.secret_bytes = 0};
	uint64_t account, ttl_s = TTL_S_DEFAULT, expiry_s;
	json_t *claims;
	int result;

	if (!hbctl_parse_account(hbctl->positional[0], &account))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"'%s' is not an account number (1..%" PRIu64 ")", hbctl->positional[0],
			HB_ACCOUNT_MAX);
	if (ttl != NULL && !hbctl_parse_duration(ttl, &ttl_s))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"--ttl %s is not a time such as 90s, 15m, 1h or 7d", ttl);
	expiry_s = (uint64_t)time(NULL) + ttl_s;
	claims = make_claims(hbctl, account, expiry_s, error);
	if (claims == NULL)
		return hbctl_fail(hbctl, HBCTL_USAGE, "%s", error);
	if (load_key(hbctl, &key, error) != 0) {
		json_decref(claims);
		return hbctl_fail(hbctl, HBCTL_USAGE, "%s", error);
	}
	result = sign(token, &key, claims);
	sodium_memzero(&key.secret, sizeof(key.secret));
	if (result != 0) {
		json_decref(claims);
		return hbctl_fail(hbctl, HBCTL_USAGE, "too many groups for one token");
	}
	if (hbctl->json)
		hbctl_print_json(hbctl, json_pack("{s:b, s:s, s:s, s:O}", "ok", 1, "token", token,
						"kid", key.kid, "claims", claims));
	else
		fprintf(hbctl->out, "%s\n", token);
	json_decref(claims);
	return HBCTL_OK;
}

/* OPERATION [TARGET] of the command line -> frame. @return HBCTL_OK or HBCTL_USAGE (said) */
static int
read_right(struct hbctl *hbctl, uint64_t account, struct hb_frame_token *frame)
{
	const char *operation = hbctl->positional[1];
	const char *target = hbctl->positional_count > 2 ? hbctl->positional[2] : NULL;
	uint64_t named = account;

	frame->head.user = account;
	frame->head.target = account;
	if (strcmp(operation, "grab") == 0) {
		frame->for_operation = HB_OP_GRAB;
		if (target == NULL || !hbctl_parse_packet(target, &frame->head.target))
			return hbctl_fail(hbctl, HBCTL_USAGE,
				"grab needs a packet: 16 hexadecimal digits beginning with 01");
		return HBCTL_OK;
	}
	if (strcmp(operation, "send") == 0)
		frame->for_operation = HB_OP_PACKET_CREATE;
	else if (strcmp(operation, "transfer") == 0)
		frame->for_operation = HB_OP_TRANSFER;
	else
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"operation '%s' is not grab, send or transfer", operation);
	if (target != NULL && (!hbctl_parse_account(target, &named) || named != account))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"the target of %s is the account itself; leave it out", operation);
	return HBCTL_OK;
}

static void
print_money_token(struct hbctl *hbctl, const struct hb_reply_token *issued)
{
	const struct hb_token token = {.id = issued->token_id,
		.mac = issued->token_mac,
		.expiry_s = issued->expiry_s,
		.operation = issued->for_operation};
	char text[HB_TOKEN_TEXT_MAX];
	char expiry[HBCTL_TIME_BYTES];

	hb_token_format(text, &token, 0, issued->user);
	if (hbctl->json) {
		hbctl_print_json(hbctl,
			json_pack("{s:b, s:s, s:I, s:I, s:I}", "ok", 1, "token", text, "sequence",
				(json_int_t)issued->sequence, "account", (json_int_t)issued->user,
				"expires_ms", (json_int_t)issued->expiry_s * 1000));
		return;
	}
	hbctl_time(expiry, (uint64_t)issued->expiry_s * 1000);
	fprintf(hbctl->out, "token     %s\nsequence  %u (first request: %u)\nexpires   %s\n", text,
		issued->sequence, issued->sequence + 1, expiry);
}

int
hbctl_run_token_money(struct hbctl *hbctl)
{
	_Alignas(8) uint8_t room[HB_REPLY_BYTES_MAX];
	struct hb_reply *reply = (struct hb_reply *)(void *)room;
	struct hb_frame_token frame;
	char error[HBCTL_ERROR_BYTES] = "";
	uint64_t account;
	int result;

	memset(&frame, 0, sizeof(frame));
	frame.head.operation = HB_OP_TOKEN_ISSUE;
	if (!hbctl_parse_account(hbctl->positional[0], &account))
		return hbctl_fail(
			hbctl, HBCTL_USAGE, "'%s' is not an account number", hbctl->positional[0]);
	result = read_right(hbctl, account, &frame);
	if (result != HBCTL_OK)
		return result;
	if (hbctl_engine_call(
		    hbctl, &frame.head, sizeof(frame), reply, HBCTL_CALL_TIMEOUT_MS, error) != 0)
		return hbctl_fail(hbctl, HBCTL_UNREACHABLE, "%s", error);
	if (reply->status != HB_STATUS_OK)
		return hbctl_refused(hbctl, "token", reply->status);
	if (reply->length < sizeof(*reply) + sizeof(struct hb_reply_token))
		return hbctl_fail(hbctl, HBCTL_WRONG, "the dataplane's reply is too short");
	print_money_token(hbctl, (const struct hb_reply_token *)(const void *)(reply + 1));
	return HBCTL_OK;
}
