/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The option table of config.h turned into parser, validation and printer. struct hb_config is the
 * caller's and holds no pointers; the libconfig tree lives only inside load_file().
 */
#include "base/config.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <libconfig.h>

#include "base/assert.h"
#include "base/log.h"

#define ERROR_BYTES	   256
#define KEY_BYTES_MAX	   64
#define ASSIGNMENTS_MAX	   64
#define NODE_DIRECTORY_MAX 72 /* with the longest socket below it still a Unix socket path */
#define USER_NAME_MAX	   32
#define WHERE_BYTES_MAX	   128

enum kind {
	KIND_INT,
	KIND_TEXT,
};

struct option_row {
	enum kind kind;
	size_t offset;
	const char *key;
	int64_t value;
	int64_t min;
	int64_t max;
	const char *text;
	const char *help;
};

static const struct option_row option_rows[] = {
#define ROW_INT(field, key, value, min, max, help)                                                 \
	{KIND_INT, offsetof(struct hb_config, field), key, value, min, max, NULL, help},
#define ROW_TEXT(field, key, value, help)                                                          \
	{KIND_TEXT, offsetof(struct hb_config, field), key, 0, 0, 0, value, help},
	HB_CONFIG_TABLE(ROW_INT, ROW_TEXT)
#undef ROW_INT
#undef ROW_TEXT
};

static const struct {
	const char *key;
	uint32_t processes;
} live_rows[] = {
#define ROW_LIVE(key, processes) {key, processes},
	HB_CONFIG_LIVE_TABLE(ROW_LIVE)
#undef ROW_LIVE
};

#define LIVE_COUNT   (sizeof(live_rows) / sizeof(live_rows[0]))
#define OPTION_COUNT (sizeof(option_rows) / sizeof(option_rows[0]))

/** Where a value came from, for error messages: "file:12" or "environment" or "option -o". */
struct origin {
	char where[WHERE_BYTES_MAX];
};

static int64_t *
int_field(struct hb_config *config, const struct option_row *row)
{
	return (int64_t *)(void *)((char *)config + row->offset);
}

static char *
text_field(struct hb_config *config, const struct option_row *row)
{
	return (char *)config + row->offset;
}

static const struct option_row *
find_row(const char *key)
{
	for (size_t i = 0; i < OPTION_COUNT; i++)
		if (strcmp(option_rows[i].key, key) == 0)
			return &option_rows[i];
	return NULL;
}

/* What single options demand beyond bounds; each returns what would be right, or NULL if it is. */

static const char *
demand_power_of_two(int64_t value)
{
	return (value & (value - 1)) == 0 ? NULL : "a power of two";
}

static const char *
demand_directory(const char *text)
{
	size_t length = strlen(text);

	if (text[0] != '/' || length < 2 || length > NODE_DIRECTORY_MAX || text[length - 1] == '/')
		return "an absolute path of at most 72 bytes without a slash at its end";
	for (; *text != '\0'; text++)
		if (!isalnum((unsigned char)*text) && strchr("/._+-", *text) == NULL)
			return "a path of letters, digits and / . _ + - only";
	return NULL;
}

static const char *
demand_user(const char *text)
{
	static const char want[] = "a user name: a-z, 0-9, - and _, at most 32 bytes";
	size_t length = strlen(text);

	if (length == 0 || length > USER_NAME_MAX ||
		!(islower((unsigned char)*text) || *text == '_'))
		return want;
	for (; *text != '\0'; text++)
		if (!islower((unsigned char)*text) && !isdigit((unsigned char)*text) &&
			*text != '-' && *text != '_')
			return want;
	return NULL;
}

static const char *
demand_idle(const char *text)
{
	if (strcmp(text, "adaptive") == 0 || strcmp(text, "busy") == 0)
		return NULL;
	return "\"adaptive\" or \"busy\"";
}

static const char *
demand_seccomp(const char *text)
{
	if (strcmp(text, "enforce") == 0 || strcmp(text, "log") == 0 || strcmp(text, "off") == 0)
		return NULL;
	return "\"enforce\", \"log\" or \"off\"";
}

static const char *
demand_listen(const char *text)
{
	static const char want[] = "ADDRESS:PORT, such as 127.0.0.1:8080 or [::1]:8080";
	const char *colon = strrchr(text, ':');
	char *end;
	long port;

	if (colon == NULL || colon == text || !isdigit((unsigned char)colon[1]))
		return want;
	port = strtol(colon + 1, &end, 10);
	if (*end != '\0' || port < 1 || port > 65535)
		return want;
	for (; text < colon; text++)
		if (!isalnum((unsigned char)*text) && strchr(".:[]*-", *text) == NULL)
			return want;
	return NULL;
}

/* https, or http that does not leave the machine: an alarm tells strangers what is weak. */
static const char *
demand_webhook(const char *text)
{
	static const char *const prefixes[] = {
		"https://", "http://127.0.0.1", "http://[::1]", "http://localhost"};

	if (text[0] == '\0')
		return NULL;
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		size_t length = strlen(prefixes[i]);

		/* what follows a host is its port, its path or the end */
		if (strncmp(text, prefixes[i], length) == 0 &&
			(i == 0 ? isalnum((unsigned char)text[length]) || text[length] == '['
				: strchr(":/", text[length]) != NULL) &&
			strpbrk(text, " @\"\\") == NULL)
			return NULL;
	}
	return "https://HOST/PATH, or http:// to 127.0.0.1, [::1] or localhost";
}

static const char *
demand_int(const char *key, int64_t value)
{
	if (strcmp(key, "dataplane.lcores") == 0 || strcmp(key, "dataplane.parked_max") == 0)
		return demand_power_of_two(value);
	return NULL;
}

static const char *
demand_text(const char *key, const char *text)
{
	for (const char *c = text; *c != '\0'; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return "text without control characters";
	if (strcmp(key, "node.directory") == 0)
		return demand_directory(text);
	if (strncmp(key, "user.", 5) == 0)
		return demand_user(text);
	if (strcmp(key, "dataplane.idle") == 0)
		return demand_idle(text);
	if (strcmp(key, "security.seccomp") == 0)
		return demand_seccomp(text);
	if (strcmp(key, "front.listen") == 0)
		return demand_listen(text);
	if (strcmp(key, "front.listen_frames") == 0 && text[0] != '\0')
		return demand_listen(text);
	if (strncmp(key, "front.tls_", 10) == 0 && text[0] != '\0')
		return demand_directory(text);
	if (strcmp(key, "alarm.webhook") == 0)
		return demand_webhook(text);
	return NULL;
}

static int
set_int(struct hb_config *config, const struct option_row *row, int64_t value,
	const struct origin *origin, char error[ERROR_BYTES])
{
	const char *demand;

	if (value < row->min || value > row->max) {
		snprintf(error, ERROR_BYTES, "%s: %s = %lld is out of bounds %lld..%lld",
			origin->where, row->key, (long long)value, (long long)row->min,
			(long long)row->max);
		return -EINVAL;
	}
	demand = demand_int(row->key, value);
	if (demand != NULL) {
		snprintf(error, ERROR_BYTES, "%s: %s = %lld must be %s (bounds %lld..%lld)",
			origin->where, row->key, (long long)value, demand, (long long)row->min,
			(long long)row->max);
		return -EINVAL;
	}
	*int_field(config, row) = value;
	return 0;
}

static int
set_text(struct hb_config *config, const struct option_row *row, const char *text,
	const struct origin *origin, char error[ERROR_BYTES])
{
	const char *demand;
	size_t length = strlen(text);

	if (length >= HB_CONFIG_TEXT_MAX) {
		snprintf(error, ERROR_BYTES, "%s: %s is too long: %zu bytes, at most %d",
			origin->where, row->key, length, HB_CONFIG_TEXT_MAX - 1);
		return -EINVAL;
	}
	demand = demand_text(row->key, text);
	if (demand != NULL) {
		snprintf(error, ERROR_BYTES, "%s: %s must be %s", origin->where, row->key, demand);
		return -EINVAL;
	}
	/* nothing of a longer value before stays behind the new one */
	memset(text_field(config, row), 0, HB_CONFIG_TEXT_MAX);
	memcpy(text_field(config, row), text, length + 1);
	return 0;
}

/** Set from characters, as the environment and -o give them. */
static int
set_from_characters(struct hb_config *config, const struct option_row *row, const char *characters,
	const struct origin *origin, char error[ERROR_BYTES])
{
	long long value;
	char *end;

	if (row->kind == KIND_TEXT)
		return set_text(config, row, characters, origin, error);
	errno = 0;
	value = strtoll(characters, &end, 10);
	if (errno != 0 || end == characters || *end != '\0' ||
		isspace((unsigned char)*characters)) {
		snprintf(error, ERROR_BYTES,
			"%s: %s = \"%.32s\" is not a whole number (bounds %lld..%lld)",
			origin->where, row->key, characters, (long long)row->min,
			(long long)row->max);
		return -EINVAL;
	}
	return set_int(config, row, value, origin, error);
}

static const char *
type_name(const config_setting_t *setting)
{
	switch (config_setting_type(setting)) {
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
		return "a whole number";
	case CONFIG_TYPE_FLOAT:
		return "a number with a fraction";
	case CONFIG_TYPE_BOOL:
		return "a truth value";
	case CONFIG_TYPE_STRING:
		return "text";
	case CONFIG_TYPE_GROUP:
		return "a group";
	default:
		return "a list";
	}
}

static int
wrong_type(const struct option_row *row, const config_setting_t *setting,
	const struct origin *origin, char error[ERROR_BYTES])
{
	if (row->kind == KIND_INT)
		snprintf(error, ERROR_BYTES, "%s: %s is %s, must be a whole number %lld..%lld",
			origin->where, row->key, type_name(setting), (long long)row->min,
			(long long)row->max);
	else
		snprintf(error, ERROR_BYTES, "%s: %s is %s, must be text in double quotes",
			origin->where, row->key, type_name(setting));
	return -EINVAL;
}

static int
apply_setting(struct hb_config *config, const char *path, const char *key,
	const config_setting_t *setting, char error[ERROR_BYTES])
{
	const struct option_row *row = find_row(key);
	int type = config_setting_type(setting);
	struct origin origin;

	snprintf(origin.where, sizeof(origin.where), "%.100s:%u", path,
		config_setting_source_line(setting));
	if (row == NULL) {
		snprintf(error, ERROR_BYTES, "%s: unknown key %s; --print-config lists all keys",
			origin.where, key);
		return -EINVAL;
	}
	if (row->kind == KIND_INT && (type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64))
		return set_int(config, row, config_setting_get_int64(setting), &origin, error);
	if (row->kind == KIND_TEXT && type == CONFIG_TYPE_STRING)
		return set_text(config, row, config_setting_get_string(setting), &origin, error);
	return wrong_type(row, setting, &origin, error);
}

/** Walk the group `prefix` names; groups nest, the leaves are the options. */
static int
apply_group(struct hb_config *config, const char *path, const char *prefix,
	const config_setting_t *group, char error[ERROR_BYTES])
{
	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *setting = config_setting_get_elem(group, (unsigned int)i);
		char key[KEY_BYTES_MAX];
		int result;

		snprintf(key, sizeof(key), "%s%s%s", prefix, *prefix != '\0' ? "." : "",
			config_setting_name(setting));
		if (config_setting_type(setting) == CONFIG_TYPE_GROUP && find_row(key) == NULL)
			result = apply_group(config, path, key, setting, error);
		else
			result = apply_setting(config, path, key, setting, error);
		if (result != 0)
			return result;
	}
	return 0;
}

static int
load_file(struct hb_config *config, const char *path, char error[ERROR_BYTES])
{
	config_t tree;
	FILE *file = fopen(path, "re");
	int result;

	if (file == NULL) {
		result = -errno;
		snprintf(error, ERROR_BYTES, "%.160s: cannot be opened: %s", path,
			strerror(-result));
		return result == -ENOENT || result == -EACCES ? result : -EINVAL;
	}
	config_init(&tree);
	if (config_read(&tree, file) == CONFIG_TRUE) {
		result = apply_group(config, path, "", config_root_setting(&tree), error);
	} else {
		snprintf(error, ERROR_BYTES, "%.160s:%d: %s", path, config_error_line(&tree),
			config_error_text(&tree));
		result = -EINVAL;
	}
	config_destroy(&tree);
	fclose(file);
	return result;
}

static int
load_environment(struct hb_config *config, char error[ERROR_BYTES])
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const struct option_row *row = &option_rows[i];
		char name[KEY_BYTES_MAX + 4] = "HB_";
		struct origin origin;
		const char *value;
		size_t length = 3;
		int result;

		for (const char *c = row->key; *c != '\0' && length < sizeof(name) - 1; c++)
			name[length++] = *c == '.' ? '_' : (char)toupper((unsigned char)*c);
		name[length] = '\0';
		value = getenv(name);
		if (value == NULL)
			continue;
		snprintf(origin.where, sizeof(origin.where), "environment %s", name);
		result = set_from_characters(config, row, value, &origin, error);
		if (result != 0)
			return result;
	}
	return 0;
}

void
hb_config_defaults(struct hb_config *config)
{
	memset(config, 0, sizeof(*config));
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const struct option_row *row = &option_rows[i];

		if (row->kind == KIND_INT) {
			*int_field(config, row) = row->value;
			continue;
		}
		HB_ASSERT(strlen(row->text) < HB_CONFIG_TEXT_MAX);
		memcpy(text_field(config, row), row->text, strlen(row->text) + 1);
	}
}

int
hb_config_load(struct hb_config *config, const char *path, char error[256])
{
	int result = 0;

	hb_config_defaults(config);
	if (path != NULL)
		result = load_file(config, path, error);
	if (result == 0)
		result = load_environment(config, error);
	return result;
}

int
hb_config_set(struct hb_config *config, const char *assignment, char error[256])
{
	const struct origin origin = {.where = "option -o"};
	const char *equals = strchr(assignment, '=');
	const struct option_row *row;
	char key[KEY_BYTES_MAX];

	if (equals == NULL || equals == assignment ||
		equals - assignment >= (ptrdiff_t)sizeof(key)) {
		snprintf(error, ERROR_BYTES, "option -o: \"%.64s\" is not KEY=VALUE", assignment);
		return -EINVAL;
	}
	memcpy(key, assignment, (size_t)(equals - assignment));
	key[equals - assignment] = '\0';
	row = find_row(key);
	if (row == NULL) {
		snprintf(error, ERROR_BYTES,
			"option -o: unknown key %s; --print-config lists all keys", key);
		return -EINVAL;
	}
	return set_from_characters(config, row, equals + 1, &origin, error);
}

static void
print_text(const char *text, FILE *out)
{
	fputc('"', out);
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

static void
print_row(const struct hb_config *config, const struct option_row *row, const char *name, FILE *out)
{
	const char *field = (const char *)config + row->offset;
	const char *live = hb_config_live_of(row->key) != 0 ? "; live" : "";

	if (row->kind == KIND_INT) {
		int64_t value;

		memcpy(&value, field, sizeof(value));
		fprintf(out, "\t# %s; %lld..%lld, default %lld%s\n", row->help, (long long)row->min,
			(long long)row->max, (long long)row->value, live);
		fprintf(out, "\t%s = %lld;\n", name, (long long)value);
		return;
	}
	fprintf(out, "\t# %s; default \"%s\"%s\n\t%s = ", row->help, row->text, live, name);
	print_text(field, out);
	fputs(";\n", out);
}

void
hb_config_print(const struct hb_config *config, FILE *out)
{
	char group[KEY_BYTES_MAX] = "";

	fputs("# Options of a hongbao node. A line may be left out: its default then counts.\n",
		out);
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const struct option_row *row = &option_rows[i];
		const char *dot = strchr(row->key, '.');
		size_t length;

		HB_ASSERT(dot != NULL);
		length = (size_t)(dot - row->key);
		if (strncmp(group, row->key, length) != 0 || group[length] != '\0') {
			if (*group != '\0')
				fputs("};\n", out);
			snprintf(group, sizeof(group), "%.*s", (int)length, row->key);
			fprintf(out, "%s: {\n", group);
		}
		print_row(config, row, dot + 1, out);
	}
	fputs("};\n", out);
}

static void
print_help(const char *program, const char *summary)
{
	printf("%s: %s\n\n"
	       "  -c, --config FILE       read options from FILE\n"
	       "  -o, --option KEY=VALUE  set one option; may be repeated\n"
	       "      --print-config      print every option with its value and help, and end\n"
	       "      --help              print this, and end\n"
	       "      --version           print the version, and end\n\n"
	       "Options come from their defaults, then the file, then the environment (HB_ and "
	       "the\n"
	       "key in capitals, dots as underscores), then -o.\n",
		program, summary);
}

_Noreturn static void
refuse(const char *program, const char *message)
{
	fprintf(stderr, "%s: %s\n", program, message);
	exit(2);
}

struct arguments {
	const char *path;
	const char *assignments[ASSIGNMENTS_MAX];
	int assignment_count;
	bool print;
};

/* What the process was started with; points into its argv. */
static struct arguments started_with;

static void
parse_arguments(struct arguments *arguments, int argc, char **argv, const char *program,
	const char *summary)
{
	static const struct option long_options[] = {
		{"config", required_argument, NULL, 'c'},
		{"option", required_argument, NULL, 'o'},
		{"print-config", no_argument, NULL, 'p'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},
		{NULL, 0, NULL, 0},
	};
	int letter;

	optind = 0;
	while ((letter = getopt_long(argc, argv, "c:o:h", long_options, NULL)) != -1) {
		switch (letter) {
		case 'c':
			arguments->path = optarg;
			break;
		case 'o':
			if (arguments->assignment_count == ASSIGNMENTS_MAX)
				refuse(program, "more than 64 options -o; use a file with -c");
			arguments->assignments[arguments->assignment_count++] = optarg;
			break;
		case 'p':
			arguments->print = true;
			break;
		case 'h':
			print_help(program, summary);
			exit(0);
		case 'v':
			printf("%s %s\n", program, HB_VERSION);
			exit(0);
		default:
			refuse(program, "--help lists the options");
		}
	}
}

int
hb_config_from_arguments(struct hb_config *config, int argc, char **argv, const char *summary)
{
	const char *slash = strrchr(argv[0], '/');
	const char *program = slash != NULL ? slash + 1 : argv[0];
	struct arguments arguments = {.path = NULL};
	char error[ERROR_BYTES];

	parse_arguments(&arguments, argc, argv, program, summary);
	started_with = arguments;
	if (hb_config_read_again(config, error) != 0)
		refuse(program, error);
	if (arguments.print) {
		hb_config_print(config, stdout);
		exit(0);
	}
	return optind;
}

/* ---- again, while the process runs ---- */

uint32_t
hb_config_live_of(const char *key)
{
	for (size_t i = 0; i < LIVE_COUNT; i++)
		if (strcmp(live_rows[i].key, key) == 0)
			return live_rows[i].processes;
	return 0;
}

int
hb_config_read_again(struct hb_config *fresh, char error[256])
{
	int result = hb_config_load(fresh, started_with.path, error);

	for (int i = 0; result == 0 && i < started_with.assignment_count; i++)
		result = hb_config_set(fresh, started_with.assignments[i], error);
	return result;
}

static void
value_text(
	const struct hb_config *config, const struct option_row *row, char text[HB_CONFIG_TEXT_MAX])
{
	const char *field = (const char *)config + row->offset;
	int64_t value;

	if (row->kind == KIND_TEXT) {
		memcpy(text, field, HB_CONFIG_TEXT_MAX);
		return;
	}
	memcpy(&value, field, sizeof(value));
	snprintf(text, HB_CONFIG_TEXT_MAX, "%lld", (long long)value);
}

void
hb_config_compare(const struct hb_config *before, const struct hb_config *after,
	hb_config_change_fn *change, void *context)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		char old_text[HB_CONFIG_TEXT_MAX], new_text[HB_CONFIG_TEXT_MAX];

		value_text(before, &option_rows[i], old_text);
		value_text(after, &option_rows[i], new_text);
		if (strcmp(old_text, new_text) != 0)
			change(context, option_rows[i].key, old_text, new_text);
	}
}

void
hb_config_take_live(struct hb_config *running, const struct hb_config *fresh, uint32_t processes)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const struct option_row *row = &option_rows[i];

		if ((hb_config_live_of(row->key) & processes) == 0)
			continue;
		memcpy((char *)running + row->offset, (const char *)fresh + row->offset,
			row->kind == KIND_INT ? sizeof(int64_t) : HB_CONFIG_TEXT_MAX);
	}
}

static void
log_change(void *context, const char *key, const char *before, const char *after)
{
	uint32_t processes = *(const uint32_t *)context;
	uint32_t live = hb_config_live_of(key);

	/* the rest of a URL may be a secret of its receiver */
	if (strcmp(key, "alarm.webhook") == 0)
		before = after = "(not shown)";
	if ((live & processes) != 0)
		hb_log(HB_LOG_INFO, "option_changed", "key=%s before=\"%s\" now=\"%s\"", key,
			before, after);
	else if (live == 0)
		hb_log(HB_LOG_WARN, "option_needs_restart", "key=%s running=\"%s\" file=\"%s\"",
			key, before, after);
}

int
hb_config_reload(struct hb_config *running, uint32_t processes, char error[256])
{
	struct hb_config *fresh = calloc(1, sizeof(*fresh));
	int result;

	if (fresh == NULL) {
		snprintf(error, ERROR_BYTES, "no memory for the options");
		return -ENOMEM;
	}
	result = hb_config_read_again(fresh, error);
	if (result == 0) {
		hb_config_compare(running, fresh, log_change, &processes);
		hb_config_take_live(running, fresh, processes);
		hb_log_debug(running->log_debug != 0);
	}
	free(fresh);
	return result;
}
