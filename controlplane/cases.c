/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of cases and its copy in memory (cases.h). One lock is held over each write, so that
 * the lines stand in the order in which things happened. Memory belongs to the store until it is
 * closed.
 */
#include "controlplane/cases.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "shm/frame.h"

#define FILE_BYTES_MAX	 (INT64_C(4) << 30)
#define ROOM_FIRST	 64
#define SALT_TEXT_LENGTH 16

struct hb_cases {
	pthread_mutex_t lock;
	int fd;
	off_t bytes;	      /* of whole lines */
	bool broken;	      /* a torn line could not be taken back: nothing more is written */
	struct hb_case *list; /* number - 1 is the index */
	uint32_t count;
	uint32_t room;
};

static const char *const verb_names[] = {
	"unknown", "freeze", "unfreeze", "hold", "post", "void", "adjust"};
static const char *const state_names[] = {
	"unknown", "asked", "ordered", "done", "refused", "withdrawn"};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

const char *
hb_case_verb_name(uint8_t verb)
{
	return verb_names[verb < COUNT(verb_names) ? verb : 0];
}

const char *
hb_case_state_name(uint8_t state)
{
	return state_names[state < COUNT(state_names) ? state : 0];
}

/* @return the number of a word, 0 when it is none */
static uint8_t
word_number(const char *const *names, size_t count, const char *word)
{
	for (size_t i = 1; i < count; i++) {
		if (strcmp(names[i], word) == 0)
			return (uint8_t)i;
	}
	return 0;
}

bool
hb_operator_name_valid(const char *name)
{
	size_t length = strlen(name);

	return length >= 1 && length <= HB_OPERATOR_NAME_MAX &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
		       length;
}

/* ---- JSON ---- */

static void
set_number(json_t *json, const char *name, uint64_t value)
{
	if (value != 0)
		json_object_set_new(json, name, json_integer((json_int_t)value));
}

static void
set_text(json_t *json, const char *name, const char *text)
{
	if (text[0])
		json_object_set_new(json, name, json_string(text));
}

static json_t *
operator_json(const struct hb_operator *operator)
{
	return json_pack("{s:I,s:s}", "uid", (json_int_t) operator->uid, "name", operator->name);
}

static void
set_hold(json_t *json, uint64_t hold)
{
	char text[SALT_TEXT_LENGTH + 1];

	snprintf(text, sizeof(text), "%016llx", (unsigned long long)hold);
	if (hold != 0)
		json_object_set_new(json, "hold", json_string(text));
}

json_t *
hb_case_json(const struct hb_case *c)
{
	char salt[SALT_TEXT_LENGTH + 1];
	json_t *json;

	snprintf(salt, sizeof(salt), "%016llx", (unsigned long long)c->salt);
	json = json_pack("{s:I,s:s,s:s,s:s,s:s,s:I,s:o}", "number", (json_int_t)c->number, "salt",
		salt, "verb", hb_case_verb_name(c->verb), "state", hb_case_state_name(c->state),
		"reason", c->reason, "asked_ms", (json_int_t)c->asked_ms, "asker",
		operator_json(&c->asker));
	if (!json)
		return NULL;
	set_number(json, "account", c->account);
	set_number(json, "to", c->to);
	set_hold(json, c->hold);
	set_number(json, "amount_fen", (uint64_t)c->amount_fen);
	set_number(json, "fee_fen", (uint64_t)c->fee_fen);
	set_number(json, "hold_reason", c->hold_reason);
	set_number(json, "lifetime_s", c->lifetime_s);
	set_number(json, "channel", c->channel);
	set_text(json, "reference", c->reference);
	set_text(json, "key", c->key);
	set_number(json, "expires_ms", c->expires_ms);
	if (c->checker.name[0])
		json_object_set_new(json, "checker", operator_json(&c->checker));
	set_number(json, "approved_ms", c->approved_ms);
	set_number(json, "over_ms", c->over_ms);
	if (c->over_ms != 0)
		set_text(json, "outcome", hb_status_name(c->outcome));
	set_number(json, "outcome_number", c->outcome);
	set_number(json, "as_of_seq", c->as_of_seq);
	set_text(json, "order_no", c->order_no);
	return json;
}

/* Reads fields of one object; `ok` becomes false at the first that is no good. */
struct reading {
	const json_t *json;
	bool ok;
};

static uint64_t
get_number(struct reading *r, const char *name, uint64_t max)
{
	const json_t *value = json_object_get(r->json, name);

	if (!value)
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
		(uint64_t)json_integer_value(value) > max) {
		r->ok = false;
		return 0;
	}
	return (uint64_t)json_integer_value(value);
}

static void
get_text(struct reading *r, const char *name, char *out, size_t room)
{
	const json_t *value = json_object_get(r->json, name);
	size_t length = json_string_length(value);

	out[0] = '\0';
	if (!value)
		return;
	if (!json_is_string(value) || length >= room ||
		strlen(json_string_value(value)) != length) {
		r->ok = false;
		return;
	}
	memcpy(out, json_string_value(value), length + 1);
}

static uint64_t
get_hex(struct reading *r, const char *name)
{
	char text[SALT_TEXT_LENGTH + 1];

	get_text(r, name, text, sizeof(text));
	if (text[0] && strspn(text, "0123456789abcdef") != SALT_TEXT_LENGTH)
		r->ok = false;
	return strtoull(text, NULL, 16);
}

static void
get_operator(struct reading *r, const char *name, struct hb_operator *operator)
{
	struct reading inner = {.json = json_object_get(r->json, name), .ok = true};

	memset(operator, 0, sizeof(*operator));
	if (!inner.json)
		return;
	operator->uid =(uint32_t) get_number(&inner, "uid", UINT32_MAX);
	get_text(&inner, "name", operator->name, sizeof(operator->name));
	r->ok = r->ok && inner.ok && hb_operator_name_valid(operator->name);
}

bool
hb_case_from_json(struct hb_case *c, const json_t *json)
{
	struct reading r = {.json = json, .ok = json_is_object(json)};
	char word[32];

	memset(c, 0, sizeof(*c));
	c->number = get_number(&r, "number", HB_CASES_MAX);
	c->salt = get_hex(&r, "salt");
	get_text(&r, "verb", word, sizeof(word));
	c->verb = word_number(verb_names, COUNT(verb_names), word);
	get_text(&r, "state", word, sizeof(word));
	c->state = word_number(state_names, COUNT(state_names), word);
	c->account = get_number(&r, "account", INT64_MAX);
	c->to = get_number(&r, "to", INT64_MAX);
	c->hold = get_hex(&r, "hold");
	c->amount_fen = (int64_t)get_number(&r, "amount_fen", INT64_MAX);
	c->fee_fen = (int64_t)get_number(&r, "fee_fen", INT64_MAX);
	c->hold_reason = (uint32_t)get_number(&r, "hold_reason", UINT32_MAX);
	c->lifetime_s = (uint32_t)get_number(&r, "lifetime_s", UINT32_MAX);
	c->channel = (uint16_t)get_number(&r, "channel", UINT16_MAX);
	c->expires_ms = get_number(&r, "expires_ms", INT64_MAX);
	c->asked_ms = get_number(&r, "asked_ms", INT64_MAX);
	c->approved_ms = get_number(&r, "approved_ms", INT64_MAX);
	c->over_ms = get_number(&r, "over_ms", INT64_MAX);
	c->outcome = (uint16_t)get_number(&r, "outcome_number", UINT16_MAX);
	c->as_of_seq = get_number(&r, "as_of_seq", INT64_MAX);
	get_text(&r, "reference", c->reference, sizeof(c->reference));
	get_text(&r, "reason", c->reason, sizeof(c->reason));
	get_text(&r, "key", c->key, sizeof(c->key));
	get_text(&r, "order_no", c->order_no, sizeof(c->order_no));
	get_operator(&r, "asker", &c->asker);
	get_operator(&r, "checker", &c->checker);
	return r.ok && c->number != 0 && c->verb != 0 && c->state != 0 && c->asker.name[0];
}

/* ---- the copy in memory ---- */

static int
make_room(struct hb_cases *cases)
{
	uint32_t room = cases->room == 0 ? ROOM_FIRST : 2 * cases->room;
	struct hb_case *grown;

	if (cases->count < cases->room)
		return 0;
	grown = reallocarray(cases->list, room, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	cases->list = grown;
	cases->room = room;
	return 0;
}

/* A line of the file: the next number, or a step of an earlier one. */
static int
take_line(struct hb_cases *cases, const struct hb_case *c)
{
	if (c->number > (uint64_t)cases->count + 1)
		return -EBADMSG;
	if (c->number == (uint64_t)cases->count + 1) {
		if (make_room(cases) != 0)
			return -ENOMEM;
		cases->count++;
	}
	cases->list[c->number - 1] = *c;
	return 0;
}

static int
read_lines(struct hb_cases *cases, char *text, const char *path, char error[256])
{
	uint64_t line = 1;

	for (char *at = text, *end; *at; at = end + 1, line++) {
		struct hb_case c;
		json_t *json;
		bool good;
		int result;

		end = strchr(at, '\n');
		if (!end)
			break; /* torn: nobody was told of it */
		json = json_loadb(at, (size_t)(end - at), JSON_REJECT_DUPLICATES, NULL);
		good = hb_case_from_json(&c, json);
		json_decref(json);
		result = good ? take_line(cases, &c) : -EBADMSG;
		if (result != 0) {
			snprintf(error, 256, "%.180s, line %llu: %s", path,
				(unsigned long long)line,
				result == -ENOMEM ? "no memory" : "this is no case");
			return result;
		}
		cases->bytes = end + 1 - text;
	}
	return 0;
}

static int
read_file(struct hb_cases *cases, const char *path, char error[256])
{
	struct stat st;
	char *text = NULL;
	off_t got = 0;
	int result = -EFBIG;

	if (fstat(cases->fd, &st) != 0 || st.st_size > FILE_BYTES_MAX)
		goto out;
	text = malloc((size_t)st.st_size + 1);
	if (!text) {
		result = -ENOMEM;
		goto out;
	}
	while (got < st.st_size) {
		ssize_t part = pread(cases->fd, text + got, (size_t)(st.st_size - got), got);

		if (part <= 0) {
			result = part < 0 ? -errno : -EIO;
			goto out;
		}
		got += part;
	}
	text[got] = '\0';
	result = read_lines(cases, text, path, error);
	if (result == 0 && cases->bytes < st.st_size && ftruncate(cases->fd, cases->bytes) != 0)
		result = -errno;
out:
	free(text);
	if (result != 0 && !error[0])
		snprintf(error, 256, "cannot read %.180s: %s", path, strerror(-result));
	return result;
}

int
hb_cases_open(struct hb_cases **out, const char *path, char error[256])
{
	struct hb_cases *cases = calloc(1, sizeof(*cases));
	int result;

	error[0] = '\0';
	if (!cases)
		return -ENOMEM;
	pthread_mutex_init(&cases->lock, NULL);
	cases->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (cases->fd < 0) {
		result = -errno;
		snprintf(error, 256, "cannot open %.180s: %s", path, strerror(-result));
	} else {
		result = read_file(cases, path, error);
	}
	if (result != 0) {
		hb_cases_close(cases);
		return result;
	}
	*out = cases;
	return 0;
}

void
hb_cases_close(struct hb_cases *cases)
{
	if (!cases)
		return;
	if (cases->fd >= 0)
		close(cases->fd);
	free(cases->list);
	pthread_mutex_destroy(&cases->lock);
	free(cases);
}

/* ---- writing ---- */

/* Append a line and wait for the disk. What could not be written whole is taken back. */
static int
append(struct hb_cases *cases, const struct hb_case *c)
{
	json_t *json = hb_case_json(c);
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	size_t length = text ? strlen(text) : 0;
	int result = -EIO;

	json_decref(json);
	if (!text || cases->broken) {
		free(text);
		return -EIO;
	}
	text[length] = '\n'; /* in the place of the NUL */
	if (pwrite(cases->fd, text, length + 1, cases->bytes) == (ssize_t)(length + 1) &&
		fdatasync(cases->fd) == 0) {
		cases->bytes += (off_t)length + 1;
		result = 0;
	} else {
		cases->broken = ftruncate(cases->fd, cases->bytes) != 0;
	}
	free(text);
	return result;
}

/* Did the two ask for the same? */
static bool
same_request(const struct hb_case *a, const struct hb_case *b)
{
	return a->verb == b->verb && a->channel == b->channel && a->hold_reason == b->hold_reason &&
	       a->lifetime_s == b->lifetime_s && a->account == b->account && a->to == b->to &&
	       (a->verb == HB_CASE_HOLD || a->hold == b->hold) && a->amount_fen == b->amount_fen &&
	       a->fee_fen == b->fee_fen && a->asker.uid == b->asker.uid &&
	       strcmp(a->reference, b->reference) == 0 && strcmp(a->reason, b->reason) == 0;
}

/* A key is free again when what it stood for was refused: nothing was done. */
static const struct hb_case *
find_key(const struct hb_cases *cases, const char *key)
{
	for (uint32_t i = cases->count; key[0] && i-- > 0;) {
		const struct hb_case *c = &cases->list[i];

		if (strcmp(c->key, key) == 0 && c->state != HB_CASE_REFUSED &&
			c->state != HB_CASE_WITHDRAWN)
			return c;
	}
	return NULL;
}

static int
add_locked(struct hb_cases *cases, struct hb_case *c)
{
	const struct hb_case *before = find_key(cases, c->key);
	int result;

	if (before) {
		if (!same_request(before, c))
			return -EEXIST;
		*c = *before;
		return 1;
	}
	if (cases->count == HB_CASES_MAX)
		return -ENOSPC;
	if (make_room(cases) != 0 ||
		getrandom(&c->salt, sizeof(c->salt), 0) != (ssize_t)sizeof(c->salt))
		return -EIO;
	c->number = (uint64_t)cases->count + 1;
	result = append(cases, c);
	if (result == 0)
		cases->list[cases->count++] = *c;
	return result;
}

int
hb_cases_add(struct hb_cases *cases, struct hb_case *c)
{
	int result;

	HB_ASSERT(c->verb != 0 && c->state != 0 && hb_operator_name_valid(c->asker.name));
	pthread_mutex_lock(&cases->lock);
	result = add_locked(cases, c);
	pthread_mutex_unlock(&cases->lock);
	return result;
}

int
hb_cases_step(struct hb_cases *cases, const struct hb_case *c, uint8_t state_before)
{
	int result = -ESTALE;

	pthread_mutex_lock(&cases->lock);
	HB_ASSERT(c->number >= 1 && c->number <= cases->count);
	if (cases->list[c->number - 1].state == state_before)
		result = append(cases, c);
	if (result == 0)
		cases->list[c->number - 1] = *c;
	pthread_mutex_unlock(&cases->lock);
	return result;
}

/* ---- reading ---- */

int
hb_cases_get(struct hb_cases *cases, uint64_t number, struct hb_case *c)
{
	int result = -ENOENT;

	pthread_mutex_lock(&cases->lock);
	if (number >= 1 && number <= cases->count) {
		*c = cases->list[number - 1];
		result = 0;
	}
	pthread_mutex_unlock(&cases->lock);
	return result;
}

static bool
matches(const struct hb_case *c, const struct hb_case_filter *filter)
{
	return (filter->account == 0 || c->account == filter->account ||
		       c->to == filter->account) &&
	       (filter->hold == 0 || c->hold == filter->hold) &&
	       (!filter->order_no[0] || strcmp(c->order_no, filter->order_no) == 0) &&
	       (filter->state == 0 || c->state == filter->state) &&
	       (filter->before == 0 || c->number < filter->before);
}

uint32_t
hb_cases_list(struct hb_cases *cases, const struct hb_case_filter *filter, struct hb_case *found,
	uint32_t max)
{
	uint32_t count = 0;

	pthread_mutex_lock(&cases->lock);
	for (uint32_t i = cases->count; i-- > 0 && count < max;) {
		if (matches(&cases->list[i], filter))
			found[count++] = cases->list[i];
	}
	pthread_mutex_unlock(&cases->lock);
	return count;
}
