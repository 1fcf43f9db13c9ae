/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl account freeze and unfreeze, hold make, post and void, adjust ask, approve, withdraw, case
 * and cases: commands of operators, which control keeps as cases. This only asks and prints.
 *
 * Each request has an idempotency key; when the answer is lost, the same command with the --key
 * that is told then does nothing twice.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "shm/ids.h"
#include "tools/hbctl/hbctl.h"

#define KEY_BYTES  24
#define PATH_BYTES 320

/* ---- arguments ---- */

bool
hbctl_parse_money(const char *text, int64_t fen_max, int64_t *fen)
{
	const char *dot = strchr(text, '.');
	size_t whole = dot == NULL ? strlen(text) : (size_t)(dot - text);
	char digits[24];
	uint64_t yuan = 0;
	uint64_t cents = 0;

	if (whole == 0 || whole >= sizeof(digits))
		return false;
	memcpy(digits, text, whole);
	digits[whole] = '\0';
	if (!hbctl_parse_u64(digits, 0, (uint64_t)fen_max / 100, &yuan))
		return false;
	if (dot != NULL) {
		size_t places = strlen(dot + 1);

		if (places < 1 || places > 2 || !hbctl_parse_u64(dot + 1, 0, 99, &cents))
			return false;
		cents *= places == 1 ? 10 : 1;
	}
	if (yuan * 100 + cents > (uint64_t)fen_max)
		return false;
	*fen = (int64_t)(yuan * 100 + cents);
	return true;
}

static int
take_money(struct hbctl *hbctl, const char *text, json_t *body)
{
	char most[HBCTL_MONEY_BYTES];
	int64_t fen = 0;

	hbctl_money(most, HB_CREDIT_FEN_MAX);
	if (!hbctl_parse_money(text, HB_CREDIT_FEN_MAX, &fen) || fen == 0)
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"'%.64s' is not an amount: yuan with at most two decimals, 0.01 to %s",
			text, most);
	json_object_set_new(body, "amount_fen", json_integer(fen));
	return HBCTL_OK;
}

static int
take_account(struct hbctl *hbctl, const char *text, json_t *body)
{
	uint64_t account;

	if (!hbctl_parse_account(text, &account))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"'%.64s' is not an account number (1..%" PRIu64 ")", text, HB_ACCOUNT_MAX);
	json_object_set_new(body, "account", json_integer((json_int_t)account));
	return HBCTL_OK;
}

static bool
is_hold(const char *text)
{
	return strlen(text) == 16 && strspn(text, "0123456789abcdef") == 16 &&
	       strncmp(text, "02", 2) == 0;
}

static int
take_hold(struct hbctl *hbctl, const char *text, json_t *body)
{
	if (!is_hold(text))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"'%.64s' is not a hold: 16 hexadecimal digits beginning with 02", text);
	json_object_set_new(body, "hold", json_string(text));
	return HBCTL_OK;
}

/* "manual" or "manual/3", of which `partition` is the default. @return 0 when it is none */
static uint64_t
own_account(const char *text, uint32_t partition)
{
	static const struct {
		const char *name;
		enum hb_system_account which;
	} names[] = {{"clearing_wechat", HB_SYSTEM_CLEARING_WECHAT},
		{"clearing_alipay", HB_SYSTEM_CLEARING_ALIPAY},
		{"clearing_99bill", HB_SYSTEM_CLEARING_99BILL},
		{"clearing_manual", HB_SYSTEM_CLEARING_MANUAL}, {"fees", HB_SYSTEM_FEES},
		{"suspense", HB_SYSTEM_SUSPENSE}};
	const char *slash = strchr(text, '/');
	size_t length = slash == NULL ? strlen(text) : (size_t)(slash - text);
	uint64_t said = partition;

	if (slash != NULL && !hbctl_parse_u64(slash + 1, 0, HB_PARTITION_COUNT - 1, &said))
		return 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strlen(names[i].name) == length && strncmp(names[i].name, text, length) == 0)
			return hb_system_account(names[i].which, (uint32_t)said);
	return 0;
}

/* An account of the node is by default that of the other's partition. */
static int
take_parties(struct hbctl *hbctl, const char *from, const char *to, json_t *body)
{
	uint64_t payer = 0;
	uint64_t payee = 0;
	bool from_user = hbctl_parse_account(from, &payer);
	bool to_user = hbctl_parse_account(to, &payee);

	if (!from_user)
		payer = own_account(from, to_user ? hb_partition_of(payee) : 0);
	if (!to_user)
		payee = own_account(to, payer != 0 ? hb_partition_of(payer) : 0);
	if (payer == 0 || payee == 0)
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"'%.64s' is neither an account number nor an account of the node: "
			"clearing_manual, clearing_wechat, clearing_alipay, clearing_99bill, "
			"fees, suspense, with /PARTITION where that matters",
			payer == 0 ? from : to);
	json_object_set_new(body, "account", json_integer((json_int_t)payer));
	json_object_set_new(body, "to", json_integer((json_int_t)payee));
	return HBCTL_OK;
}

/* An option that is a time, as seconds. */
static int
take_duration(struct hbctl *hbctl, const char *option, const char *field, json_t *body)
{
	const char *text = hbctl_option_value(hbctl, option);
	uint64_t seconds;

	if (text == NULL)
		return HBCTL_OK;
	if (!hbctl_parse_duration(text, &seconds))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"%s %.64s is not a time such as 90s, 15m, 1h or 7d", option, text);
	json_object_set_new(body, field, json_integer((json_int_t)seconds));
	return HBCTL_OK;
}

static void
take_text(struct hbctl *hbctl, const char *option, const char *field, json_t *body)
{
	const char *text = hbctl_option_value(hbctl, option);

	if (text != NULL)
		json_object_set_new(body, field, hbctl_json_string(text));
}

/* ---- printing ---- */

static void
print_person(struct hbctl *hbctl, const char *what, const json_t *c, const char *who,
	const char *when_key)
{
	const json_t *person = json_object_get(c, who);
	char when[HBCTL_TIME_BYTES];

	if (person == NULL || hbctl_json_i64(c, when_key) == 0)
		return;
	hbctl_time(when, (uint64_t)hbctl_json_i64(c, when_key));
	fprintf(hbctl->out, "%-11s%s by %s (uid %" PRId64 ")\n", what, when,
		hbctl_json_text(person, "name"), hbctl_json_i64(person, "uid"));
}

static void
print_money(struct hbctl *hbctl, const char *what, const json_t *object, const char *key)
{
	char money[HBCTL_MONEY_BYTES];

	if (hbctl_json_i64(object, key) == 0)
		return;
	hbctl_money(money, hbctl_json_i64(object, key));
	fprintf(hbctl->out, "%-11s%s yuan\n", what, money);
}

static void
print_party(struct hbctl *hbctl, const char *what, const json_t *c, const char *key)
{
	char name[HBCTL_NAME_BYTES];

	if (hbctl_json_i64(c, key) == 0)
		return;
	hbctl_account_name(name, (uint64_t)hbctl_json_i64(c, key));
	fprintf(hbctl->out, "%-11s%s\n", what, name);
}

static void
print_text(struct hbctl *hbctl, const char *what, const json_t *c)
{
	if (hbctl_json_text(c, what)[0] != '\0')
		fprintf(hbctl->out, "%-11s%s\n", what, hbctl_json_text(c, what));
}

static void
print_case(struct hbctl *hbctl, const json_t *c)
{
	char when[HBCTL_TIME_BYTES];
	bool waits = strcmp(hbctl_json_text(c, "state"), "asked") == 0;

	fprintf(hbctl->out, "case       %" PRId64 "  %s, %s\n", hbctl_json_i64(c, "number"),
		hbctl_json_text(c, "verb"), hbctl_json_text(c, "state"));
	print_party(hbctl, json_object_get(c, "to") != NULL ? "from" : "account", c, "account");
	print_party(hbctl, "to", c, "to");
	print_text(hbctl, "hold", c);
	print_money(hbctl, "amount", c, "amount_fen");
	print_money(hbctl, "fee", c, "fee_fen");
	print_text(hbctl, "reference", c);
	print_text(hbctl, "reason", c);
	print_person(hbctl, "asked", c, "asker", "asked_ms");
	print_person(hbctl, "approved", c, "checker", "approved_ms");
	if (strcmp(hbctl_json_text(c, "state"), "withdrawn") == 0)
		print_person(hbctl, "withdrawn", c, "checker", "over_ms");
	if (waits) {
		hbctl_time(when, (uint64_t)hbctl_json_i64(c, "expires_ms"));
		fprintf(hbctl->out, "expires    %s; another operator: hbctl approve %" PRId64 "\n",
			when, hbctl_json_i64(c, "number"));
	}
	print_text(hbctl, "outcome", c);
	if (hbctl_json_text(c, "order_no")[0] != '\0')
		fprintf(hbctl->out, "order      %s\n", hbctl_json_text(c, "order_no"));
}

static void
print_hold(struct hbctl *hbctl, const json_t *hold)
{
	char when[HBCTL_TIME_BYTES];
	char money[HBCTL_MONEY_BYTES];

	hbctl_time(when, (uint64_t)hbctl_json_i64(hold, "deadline_ms"));
	hbctl_money(money, hbctl_json_i64(hold, "day_fen"));
	fprintf(hbctl->out, "hold       %s  %s, %s, order %s\n", hbctl_json_text(hold, "hold"),
		hbctl_json_text(hold, "kind"), hbctl_json_text(hold, "state"),
		hbctl_json_text(hold, "order_state"));
	print_party(hbctl, "account", hold, "account");
	print_money(hbctl, "amount", hold, "amount_fen");
	fprintf(hbctl->out, "deadline   %s\n", when);
	fprintf(hbctl->out,
		"day        %" PRId64 ": %" PRId64 " hold(s) of %s of this account, %s yuan not "
		"given back\n",
		hbctl_json_i64(hold, "day"), hbctl_json_i64(hold, "day_count"),
		hbctl_json_text(hold, "kind"), money);
}

/* An answer of control, with "ok" in the place of its status. Frees it. */
static int
show(struct hbctl *hbctl, json_t *answer)
{
	const json_t *hold = json_object_get(answer, "hold");

	if (hbctl->json) {
		json_object_del(answer, "status");
		json_object_set_new(answer, "ok", json_true());
		hbctl_print_json(hbctl, answer);
		return HBCTL_OK;
	}
	if (json_is_true(json_object_get(answer, "already")))
		fprintf(hbctl->out, "it was so already\n");
	if (json_object_get(answer, "case") != NULL)
		print_case(hbctl, json_object_get(answer, "case"));
	if (json_is_object(hold))
		print_hold(hbctl, hold);
	json_decref(answer);
	return HBCTL_OK;
}

/* ---- asking ---- */

static int
make_key(struct hbctl *hbctl, char key[2 * KEY_BYTES])
{
	uint8_t bytes[8];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return hbctl_fail(hbctl, HBCTL_WRONG, "the kernel gives no random bytes");
	snprintf(key, 2 * KEY_BYTES, "hbctl-%02x%02x%02x%02x%02x%02x%02x%02x", bytes[0], bytes[1],
		bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]);
	return HBCTL_OK;
}

static int
add_operator(struct hbctl *hbctl, json_t *body)
{
	char name[HBCTL_NAME_BYTES];
	uint32_t uid;
	int result = hbctl_operator(hbctl, &uid, name);

	json_object_set_new(body, "operator_uid", json_integer(uid));
	json_object_set_new(body, "operator_name", json_string(name));
	return result;
}

/* POST a body, which is freed. @param key NULL: the request needs none */
static int
post(struct hbctl *hbctl, const char *path, json_t *body, const char *key)
{
	char error[HBCTL_ERROR_BYTES] = "";
	char *text = json_dumps(body, JSON_COMPACT);
	json_t *answer;
	int status = 0;

	json_decref(body);
	if (text == NULL)
		return hbctl_fail(hbctl, HBCTL_WRONG, "no memory");
	answer = hbctl_control_post(hbctl, path, text, key, &status, error);
	free(text);
	if (answer == NULL && key != NULL)
		return hbctl_fail(hbctl, HBCTL_UNREACHABLE,
			"%s; if it may have been done, give the command again with --key %s", error,
			key);
	if (answer == NULL)
		return hbctl_fail(hbctl, HBCTL_UNREACHABLE, "%s", error);
	if (status == 200 || status == 201)
		return show(hbctl, answer);
	return hbctl_control_refused(hbctl, answer, status);
}

/* A new case. `result` says whether the arguments were good. Frees `body`. */
static int
ask_case(struct hbctl *hbctl, const char *verb, json_t *body, int result)
{
	const char *key = hbctl_option_value(hbctl, "--key");
	const char *reason = hbctl_option_value(hbctl, "--reason");
	char made[2 * KEY_BYTES];

	if (result == HBCTL_OK && (reason == NULL || reason[0] == '\0'))
		result = hbctl_fail(hbctl, HBCTL_USAGE,
			"%s needs --reason TEXT: it is kept with the case", hbctl->command->name);
	if (result == HBCTL_OK)
		result = add_operator(hbctl, body);
	if (result == HBCTL_OK && key == NULL)
		result = make_key(hbctl, made);
	if (result != HBCTL_OK) {
		json_decref(body);
		return result;
	}
	json_object_set_new(body, "verb", json_string(verb));
	take_text(hbctl, "--reason", "reason", body);
	return post(hbctl, "/cases", body, key == NULL ? made : key);
}

int
hbctl_run_account_freeze(struct hbctl *hbctl)
{
	json_t *body = json_object();

	return ask_case(hbctl, "freeze", body, take_account(hbctl, hbctl->positional[0], body));
}

int
hbctl_run_account_unfreeze(struct hbctl *hbctl)
{
	json_t *body = json_object();

	return ask_case(hbctl, "unfreeze", body, take_account(hbctl, hbctl->positional[0], body));
}

int
hbctl_run_hold_make(struct hbctl *hbctl)
{
	json_t *body = json_object();
	int result = take_account(hbctl, hbctl->positional[0], body);

	if (result == HBCTL_OK)
		result = take_money(hbctl, hbctl->positional[1], body);
	if (result == HBCTL_OK)
		result = take_duration(hbctl, "--lifetime", "lifetime_s", body);
	take_text(hbctl, "--kind", "kind", body);
	return ask_case(hbctl, "hold", body, result);
}

int
hbctl_run_hold_post(struct hbctl *hbctl)
{
	const char *fee = hbctl_option_value(hbctl, "--fee");
	json_t *body = json_object();
	int result = take_hold(hbctl, hbctl->positional[0], body);
	int64_t fee_fen = 0;

	if (result == HBCTL_OK && fee != NULL &&
		!hbctl_parse_money(fee, HB_CREDIT_FEN_MAX, &fee_fen))
		result = hbctl_fail(hbctl, HBCTL_USAGE,
			"--fee %.64s is not an amount in yuan with at most two decimals", fee);
	if (fee_fen != 0)
		json_object_set_new(body, "fee_fen", json_integer(fee_fen));
	take_text(hbctl, "--channel", "channel", body);
	take_text(hbctl, "--reference", "reference", body);
	return ask_case(hbctl, "post", body, result);
}

int
hbctl_run_hold_void(struct hbctl *hbctl)
{
	json_t *body = json_object();

	return ask_case(hbctl, "void", body, take_hold(hbctl, hbctl->positional[0], body));
}

int
hbctl_run_adjust_ask(struct hbctl *hbctl)
{
	json_t *body = json_object();
	int result = take_parties(hbctl, hbctl->positional[0], hbctl->positional[1], body);

	if (result == HBCTL_OK)
		result = take_money(hbctl, hbctl->positional[2], body);
	if (result == HBCTL_OK)
		result = take_duration(hbctl, "--within", "within_s", body);
	return ask_case(hbctl, "adjust", body, result);
}

/* ---- a case that is there ---- */

static int
case_path(struct hbctl *hbctl, const char *rest, char path[PATH_BYTES])
{
	uint64_t number;

	if (!hbctl_parse_u64(hbctl->positional[0], 1, INT32_MAX, &number))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"'%.64s' is not the number of a case; 'hbctl cases' lists them",
			hbctl->positional[0]);
	snprintf(path, PATH_BYTES, "/cases/%" PRIu64 "%s", number, rest);
	return HBCTL_OK;
}

static int
about_case(struct hbctl *hbctl, const char *rest)
{
	char path[PATH_BYTES];
	json_t *body = json_object();
	int result = case_path(hbctl, rest, path);

	if (result == HBCTL_OK)
		result = add_operator(hbctl, body);
	if (result == HBCTL_OK)
		return post(hbctl, path, body, NULL);
	json_decref(body);
	return result;
}

int
hbctl_run_approve(struct hbctl *hbctl)
{
	return about_case(hbctl, "/approve");
}

int
hbctl_run_withdraw(struct hbctl *hbctl)
{
	return about_case(hbctl, "/withdraw");
}

static int
get(struct hbctl *hbctl, const char *path, json_t **answer)
{
	char error[HBCTL_ERROR_BYTES] = "";
	int status = 0;

	*answer = hbctl_control_call(hbctl, "GET", path, NULL, &status, error);
	if (*answer == NULL)
		return hbctl_fail(hbctl, HBCTL_UNREACHABLE, "%s", error);
	return status == 200 ? HBCTL_OK : hbctl_control_refused(hbctl, *answer, status);
}

int
hbctl_run_case(struct hbctl *hbctl)
{
	char path[PATH_BYTES];
	json_t *answer;
	int result = case_path(hbctl, "", path);

	if (result == HBCTL_OK)
		result = get(hbctl, path, &answer);
	return result == HBCTL_OK ? show(hbctl, answer) : result;
}

int
hbctl_run_hold_show(struct hbctl *hbctl)
{
	char path[PATH_BYTES];
	json_t *answer;
	int result;

	if (!is_hold(hbctl->positional[0]))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"'%.64s' is not a hold: 16 hexadecimal digits beginning with 02",
			hbctl->positional[0]);
	snprintf(path, sizeof(path), "/holds/%s", hbctl->positional[0]);
	result = get(hbctl, path, &answer);
	return result == HBCTL_OK ? show(hbctl, answer) : result;
}

/* ---- lists ---- */

static bool
is_query_value(const char *text)
{
	return text[0] != '\0' && strlen(text) <= 64 &&
	       strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.") ==
		       strlen(text);
}

int
hbctl_add_query(struct hbctl *hbctl, char *path, size_t room, const char *option, const char *name)
{
	const char *text = hbctl_option_value(hbctl, option);
	size_t used = strlen(path);

	if (text == NULL)
		return HBCTL_OK;
	if (!is_query_value(text))
		return hbctl_fail(
			hbctl, HBCTL_USAGE, "%s '%.64s' is not a value it can have", option, text);
	snprintf(path + used, room - used, "%c%s=%s", strchr(path, '?') == NULL ? '?' : '&', name,
		text);
	return HBCTL_OK;
}

static void
print_case_line(struct hbctl *hbctl, const json_t *c)
{
	char when[HBCTL_TIME_BYTES];
	char money[HBCTL_MONEY_BYTES] = "";
	char account[HBCTL_NAME_BYTES];

	hbctl_time(when, (uint64_t)hbctl_json_i64(c, "asked_ms"));
	hbctl_account_name(account, (uint64_t)hbctl_json_i64(c, "account"));
	if (hbctl_json_i64(c, "amount_fen") != 0)
		hbctl_money(money, hbctl_json_i64(c, "amount_fen"));
	fprintf(hbctl->out, "%8" PRId64 "  %s  %-8s %-9s  %-20s %14s  %s: %s\n",
		hbctl_json_i64(c, "number"), when, hbctl_json_text(c, "verb"),
		hbctl_json_text(c, "state"),
		hbctl_json_i64(c, "account") != 0 ? account : hbctl_json_text(c, "hold"), money,
		hbctl_json_text(json_object_get(c, "asker"), "name"), hbctl_json_text(c, "reason"));
}

static void
print_hold_line(struct hbctl *hbctl, const json_t *item)
{
	const json_t *hold = json_object_get(item, "hold");
	char when[HBCTL_TIME_BYTES];
	char until[HBCTL_TIME_BYTES] = "-";
	char money[HBCTL_MONEY_BYTES];

	hbctl_time(when, (uint64_t)hbctl_json_i64(item, "at_ms"));
	hbctl_money(money, hbctl_json_i64(item, "amount_fen"));
	if (json_is_object(hold))
		hbctl_time(until, (uint64_t)hbctl_json_i64(hold, "deadline_ms"));
	fprintf(hbctl->out, "%s  %s  %-10s %-9s %14s  %-16s  until %s\n", when,
		hbctl_json_text(item, "order_no"), hbctl_json_text(item, "business"),
		hbctl_json_text(item, "state"), money,
		json_is_object(hold) ? hbctl_json_text(hold, "hold") : "not in memory", until);
}

int
hbctl_show_list(
	struct hbctl *hbctl, json_t *answer, void (*print)(struct hbctl *hbctl, const json_t *item))
{
	const json_t *next = json_object_get(answer, "next");
	size_t index;
	json_t *item;

	if (hbctl->json) {
		json_object_del(answer, "status");
		json_object_set_new(answer, "ok", json_true());
		hbctl_print_json(hbctl, answer);
		return HBCTL_OK;
	}
	json_array_foreach(json_object_get(answer, "items"), index, item) print(hbctl, item);
	if (json_array_size(json_object_get(answer, "items")) == 0)
		fprintf(hbctl->out, "none\n");
	if (json_is_integer(next))
		fprintf(hbctl->out, "more: --before %" JSON_INTEGER_FORMAT "\n",
			json_integer_value(next));
	else if (json_is_string(next))
		fprintf(hbctl->out, "more: --before %s\n", json_string_value(next));
	json_decref(answer);
	return HBCTL_OK;
}

int
hbctl_run_cases(struct hbctl *hbctl)
{
	static const char *const options[][2] = {{"--account", "account"}, {"--hold", "hold"},
		{"--order", "order"}, {"--state", "state"}, {"--before", "before"},
		{"--limit", "limit"}};
	char path[PATH_BYTES] = "/cases";
	json_t *answer;
	int result = HBCTL_OK;

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]) && result == HBCTL_OK; i++)
		result = hbctl_add_query(hbctl, path, sizeof(path), options[i][0], options[i][1]);
	if (result == HBCTL_OK)
		result = get(hbctl, path, &answer);
	return result == HBCTL_OK ? hbctl_show_list(hbctl, answer, print_case_line) : result;
}

int
hbctl_run_hold_list(struct hbctl *hbctl)
{
	char path[PATH_BYTES];
	uint64_t account;
	json_t *answer;
	int result = HBCTL_OK;

	if (!hbctl_parse_account(hbctl->positional[0], &account))
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"'%.64s' is not an account number (1..%" PRIu64 ")", hbctl->positional[0],
			HB_ACCOUNT_MAX);
	snprintf(path, sizeof(path), "/holds?account=%" PRIu64, account);
	result = hbctl_add_query(hbctl, path, sizeof(path), "--before", "before");
	if (result == HBCTL_OK)
		result = hbctl_add_query(hbctl, path, sizeof(path), "--limit", "limit");
	if (result == HBCTL_OK)
		result = get(hbctl, path, &answer);
	return result == HBCTL_OK ? hbctl_show_list(hbctl, answer, print_hold_line) : result;
}
