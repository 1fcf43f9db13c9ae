/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl packet verify: recompute what a packet's seed says of its shares (docs/fairness.md) and
 * compare it with what the detail tells. The detail comes from the engine, from MySQL, or from
 * files that somebody saved; all have the same form, so there is one way to check them. Nothing
 * is changed; the verdict is JSON, the text is made from it.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "shm/order_number.h"
#include "shm/split.h"
#include "tools/hbctl/hbctl.h"

/* What of a detail decides its shares, and what it tells of them. */
struct told {
	uint64_t packet;
	uint8_t seed[32];
	uint8_t commitment[32];
	struct hb_split split; /* as before the first draw */
	uint32_t count;
	uint32_t taken;
	int64_t refunded_fen;
	const json_t *luckiest;
	const json_t *claims;
};

static bool
parse_hex(const char *text, uint8_t *bytes, size_t count)
{
	if (strlen(text) != 2 * count)
		return false;
	for (size_t i = 0; i < count; i++) {
		char digits[3] = {text[2 * i], text[2 * i + 1], '\0'};

		if (!isxdigit((unsigned char)digits[0]) || !isxdigit((unsigned char)digits[1]))
			return false;
		bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
	}
	return true;
}

/* @return the fault of the detail, or NULL */
static const char *
read_told(const json_t *detail, struct told *told)
{
	static const char *const numbers[] = {
		"total_fen", "count", "share_min_fen", "share_max_fen", "taken", "refunded_fen"};
	const char *algorithm = hbctl_json_text(detail, "algorithm");
	int64_t count = hbctl_json_i64(detail, "count");
	int64_t taken = hbctl_json_i64(detail, "taken");

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (!json_is_integer(json_object_get(detail, numbers[i])))
			return "a number is missing: of total_fen, count, share_min_fen, "
			       "share_max_fen, taken and refunded_fen";
	if (!hbctl_parse_packet(hbctl_json_text(detail, "packet"), &told->packet))
		return "packet is not 16 hexadecimal digits beginning with 01";
	if (!parse_hex(hbctl_json_text(detail, "seed"), told->seed, sizeof(told->seed)) ||
		!parse_hex(hbctl_json_text(detail, "commitment"), told->commitment,
			sizeof(told->commitment)))
		return "seed and commitment must have 64 hexadecimal digits";
	if (strcmp(algorithm, "seed") != 0 && strcmp(algorithm, "double-mean") != 0)
		return "the algorithm is not known";
	if (count < 1 || count > HB_PACKET_COUNT_MAX || taken < 0 || taken > count)
		return "count or taken is out of its range";
	told->count = (uint32_t)count;
	told->taken = (uint32_t)taken;
	told->split = (struct hb_split){.left_fen = hbctl_json_i64(detail, "total_fen"),
		.share_min_fen = hbctl_json_i64(detail, "share_min_fen"),
		.share_max_fen = hbctl_json_i64(detail, "share_max_fen"),
		.left_count = told->count,
		.algorithm = strcmp(algorithm, "seed") == 0 ? HB_SPLIT_SEED : HB_SPLIT_DOUBLE_MEAN};
	told->refunded_fen = hbctl_json_i64(detail, "refunded_fen");
	told->luckiest = json_object_get(detail, "luckiest");
	told->claims = json_object_get(detail, "claims");
	if (json_array_size(told->claims) != told->taken)
		return "it does not have all claims; give all its pages";
	return NULL;
}

static json_t *
verdict(const char *name)
{
	return json_pack("{s:b, s:s}", "ok", strcmp(name, "match") == 0, "verdict", name);
}

static json_t *
differs(const char *what, json_t *told, json_t *computed)
{
	json_t *v = verdict("differs");

	json_object_set_new(v, "what", json_string(what));
	json_object_set_new(v, "told", told);
	json_object_set_new(v, "computed", computed);
	return v;
}

/* Shares are drawn; compare them with what is told. */
static json_t *
compare(const struct told *told, const uint32_t *share_fen)
{
	int64_t refund_fen = 0;
	uint32_t best = 0;
	json_int_t luckiest = -1, told_luckiest = -1;

	for (uint32_t i = 0; i < told->taken; i++) {
		int64_t claim_fen = hbctl_json_i64(json_array_get(told->claims, i), "amount_fen");

		if (claim_fen != share_fen[i]) {
			json_t *v = differs(
				"share", json_integer(claim_fen), json_integer(share_fen[i]));

			json_object_set_new(v, "position", json_integer(i));
			return v;
		}
		if (share_fen[i] > share_fen[best])
			best = i;
	}
	for (uint32_t i = told->taken; i < told->count; i++)
		refund_fen += share_fen[i];
	if (told->refunded_fen != refund_fen)
		return differs(
			"refunded_fen", json_integer(told->refunded_fen), json_integer(refund_fen));
	if (told->taken > 0 && told->count > 1)
		luckiest = best;
	if (json_is_integer(told->luckiest))
		told_luckiest = json_integer_value(told->luckiest);
	if (told_luckiest != luckiest)
		return differs("luckiest",
			told_luckiest < 0 ? json_null() : json_integer(told_luckiest),
			luckiest < 0 ? json_null() : json_integer(luckiest));
	return verdict("match");
}

json_t *
hbctl_packet_verdict(const json_t *detail, char error[HBCTL_ERROR_BYTES])
{
	const struct hb_split *split;
	struct told told;
	uint8_t commitment[32];
	const char *fault;
	uint32_t *share_fen;
	json_t *v;

	if (hbctl_json_text(detail, "seed")[0] == '\0' &&
		hbctl_json_text(detail, "packet")[0] != '\0')
		return verdict("not_revealed");
	fault = read_told(detail, &told);
	if (fault != NULL) {
		snprintf(error, HBCTL_ERROR_BYTES, "the detail cannot be checked: %s", fault);
		return NULL;
	}
	split = &told.split;
	if (!hb_split_possible(
		    split->left_fen, told.count, split->share_min_fen, split->share_max_fen))
		return differs("terms", json_null(), json_null());
	hb_split_commitment(commitment, told.packet, told.seed, split->left_fen, told.count,
		split->share_min_fen, split->share_max_fen, split->algorithm);
	if (memcmp(commitment, told.commitment, sizeof(commitment)) != 0)
		return differs("commitment", hbctl_json_hex(told.commitment, 32),
			hbctl_json_hex(commitment, 32));
	share_fen = calloc(told.count, sizeof(*share_fen));
	if (share_fen == NULL) {
		snprintf(error, HBCTL_ERROR_BYTES, "no memory for %u shares", told.count);
		return NULL;
	}
	hb_split_draw(&told.split, told.seed, share_fen, sizeof(*share_fen), told.count);
	v = compare(&told, share_fen);
	free(share_fen);
	return v;
}

/* ---- where the detail comes from ---- */

/* The next JSON value of a file. @return 1 with *value, 0 at the end, -1 with `error` */
static int
next_page(FILE *file, const char *name, json_t **value, char error[HBCTL_ERROR_BYTES])
{
	json_error_t why;
	int c;

	do
		c = fgetc(file);
	while (c != EOF && isspace(c));
	if (c == EOF)
		return 0;
	ungetc(c, file);
	*value = json_loadf(file, JSON_DISABLE_EOF_CHECK, &why);
	if (json_is_object(*value))
		return 1;
	snprintf(error, HBCTL_ERROR_BYTES, "%s is not the JSON of a packet's detail: %s", name,
		*value == NULL ? why.text : "it is no object");
	json_decref(*value);
	return -1;
}

/* Add a page's claims to the first page. @return false when it is of another packet */
static bool
add_page(json_t **detail, json_t *page)
{
	if (*detail == NULL) {
		*detail = json_incref(page);
		return true;
	}
	if (strcmp(hbctl_json_text(*detail, "packet"), hbctl_json_text(page, "packet")) != 0)
		return false;
	return json_array_extend(
		       json_object_get(*detail, "claims"), json_object_get(page, "claims")) == 0;
}

json_t *
hbctl_packet_read_pages(FILE *file, const char *name, char error[HBCTL_ERROR_BYTES])
{
	json_t *detail = NULL, *page;
	int got;

	while ((got = next_page(file, name, &page, error)) > 0) {
		bool added = add_page(&detail, page);

		json_decref(page);
		if (added)
			continue;
		snprintf(error, HBCTL_ERROR_BYTES, "%s has pages of several packets", name);
		got = -1;
		break;
	}
	if (got == 0 && detail == NULL)
		snprintf(error, HBCTL_ERROR_BYTES, "%s is empty", name);
	if (got == 0)
		return detail;
	json_decref(detail);
	return NULL;
}

static int
detail_of_file(struct hbctl *hbctl, const char *name, json_t **detail)
{
	char error[HBCTL_ERROR_BYTES] = "";
	bool standard = strcmp(name, "-") == 0;
	FILE *file = standard ? stdin : fopen(name, "re");

	if (file == NULL)
		return hbctl_fail(hbctl, HBCTL_USAGE, "%s: %s", name, strerror(errno));
	*detail = hbctl_packet_read_pages(file, standard ? "standard input" : name, error);
	if (!standard)
		fclose(file);
	return *detail != NULL ? HBCTL_OK : hbctl_fail(hbctl, HBCTL_USAGE, "%s", error);
}

/* The packet that was meant: by its id, or by the number of an order that names one. */
static int
packet_meant(struct hbctl *hbctl, const char *text, uint64_t *packet)
{
	json_t *order = NULL;
	struct hb_order_number number;
	int result;

	if (hbctl_parse_packet(text, packet))
		return HBCTL_OK;
	if (!hb_order_number_parse(text, &number))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"'%s' is neither a packet (16 hexadecimal digits beginning with 01) nor an "
			"order number (%d digits)",
			text, HB_ORDER_NUMBER_LENGTH);
	result = hbctl_order_fetch(hbctl, text, &order);
	if (result != HBCTL_OK)
		return result;
	if (!hbctl_parse_packet(hbctl_json_text(order, "packet"), packet))
		result = hbctl_fail(hbctl, HBCTL_WRONG, "order %s is of no packet", text);
	json_decref(order);
	return result;
}

static void
print_verdict(struct hbctl *hbctl, const json_t *v)
{
	const char *name = hbctl_json_text(v, "verdict");
	json_t *told, *computed;
	char *texts[2];

	if (strcmp(name, "match") == 0) {
		fprintf(hbctl->out,
			"match: commitment, %" PRId64 " of %" PRId64
			" shares taken, refund and luckiest follow from the seed\n",
			hbctl_json_i64(v, "taken"), hbctl_json_i64(v, "count"));
		return;
	}
	if (strcmp(name, "not_revealed") == 0) {
		fprintf(hbctl->out, "the seed is not revealed until the packet is over\n");
		return;
	}
	told = json_object_get(v, "told");
	computed = json_object_get(v, "computed");
	if (json_is_null(told) && json_is_null(computed)) {
		fprintf(hbctl->out,
			"differs: total, count and bounds cannot be those of a packet\n");
		return;
	}
	texts[0] = json_dumps(told, JSON_ENCODE_ANY);
	texts[1] = json_dumps(computed, JSON_ENCODE_ANY);
	fprintf(hbctl->out, "differs");
	if (json_object_get(v, "position") != NULL)
		fprintf(hbctl->out, " at position %" PRId64, hbctl_json_i64(v, "position"));
	fprintf(hbctl->out, ": %s is told as %s, the seed gives %s\n", hbctl_json_text(v, "what"),
		texts[0] == NULL ? "?" : texts[0], texts[1] == NULL ? "?" : texts[1]);
	free(texts[0]);
	free(texts[1]);
}

/* What the verdict is about. */
static void
add_subject(json_t *v, const json_t *detail)
{
	static const char *const keys[] = {
		"packet", "source", "state", "algorithm", "count", "taken", "as_of_seq"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		json_t *value = json_object_get(detail, keys[i]);

		if (value != NULL)
			json_object_set(v, keys[i], value);
	}
}

int
hbctl_run_packet_verify(struct hbctl *hbctl)
{
	const char *file = hbctl_option_value(hbctl, "--detail");
	const char *meant = hbctl->positional[0];
	char error[HBCTL_ERROR_BYTES] = "";
	json_t *detail = NULL, *v;
	uint64_t packet;
	int result;

	if ((file == NULL) == (meant == NULL))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"name a packet or an order, or a file with its detail (--detail)");
	if (file != NULL) {
		result = detail_of_file(hbctl, file, &detail);
	} else {
		result = packet_meant(hbctl, meant, &packet);
		if (result == HBCTL_OK)
			result = hbctl_packet_fetch(hbctl, packet, &detail);
	}
	if (result != HBCTL_OK)
		return result;
	v = hbctl_packet_verdict(detail, error);
	if (v == NULL) {
		json_decref(detail);
		return hbctl_fail(hbctl, file != NULL ? HBCTL_USAGE : HBCTL_WRONG, "%s", error);
	}
	add_subject(v, detail);
	json_decref(detail);
	result = json_is_true(json_object_get(v, "ok")) ? HBCTL_OK : HBCTL_WRONG;
	if (hbctl->json) {
		hbctl_print_json(hbctl, v);
		return result;
	}
	print_verdict(hbctl, v);
	json_decref(v);
	return result;
}
