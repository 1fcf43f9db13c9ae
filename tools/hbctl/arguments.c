/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line: words become a command of the table, its arguments and options; texts become
 * numbers. Nothing is allocated; everything points into argv. Input is refused with what would be
 * right.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "shm/ids.h"
#include "tools/hbctl/hbctl.h"

#define DURATION_S_MAX (UINT64_C(10) * 366 * 86400)

static const char *const config_places[] = {
	"run/etc/hongbao.conf",
	"/etc/hongbao/hongbao.conf",
	"/var/lib/hongbao/etc/hongbao.conf",
};

bool
hbctl_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
	char *end;
	uint64_t number;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno != 0 || *end != '\0' || number < min || number > max)
		return false;
	*value = number;
	return true;
}

bool
hbctl_parse_duration(const char *text, uint64_t *seconds)
{
	static const struct {
		char unit;
		uint64_t seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	char digits[24];
	size_t length = strlen(text);
	uint64_t unit_s = 1;
	uint64_t number;

	if (length == 0 || length >= sizeof(digits))
		return false;
	memcpy(digits, text, length + 1);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (digits[length - 1] == units[i].unit) {
			unit_s = units[i].seconds;
			digits[length - 1] = '\0';
			break;
		}
	}
	if (!hbctl_parse_u64(digits, 1, DURATION_S_MAX / unit_s, &number))
		return false;
	*seconds = number * unit_s;
	return true;
}

bool
hbctl_parse_account(const char *text, uint64_t *account)
{
	return hbctl_parse_u64(text, 1, HB_ACCOUNT_MAX, account);
}

bool
hbctl_parse_packet(const char *text, uint64_t *packet)
{
	uint64_t id;

	if (strlen(text) != 16 || strspn(text, "0123456789abcdefABCDEF") != 16)
		return false;
	id = strtoull(text, NULL, 16);
	if (hb_id_kind(id) != HB_ID_PACKET)
		return false;
	*packet = id;
	return true;
}

const char *
hbctl_option_value(const struct hbctl *hbctl, const char *name)
{
	for (int i = 0; i < hbctl->option_count; i++) {
		if (strcmp(hbctl->option[i].option->name, name) == 0)
			return hbctl->option[i].value;
	}
	return NULL;
}

/* Does `word` spell this option? `=value` may follow when it takes one. */
static bool
option_matches(const struct hbctl_option *option, const char *word, const char **value)
{
	size_t length = strlen(option->name);

	*value = NULL;
	if (strncmp(word, option->name, length) != 0)
		return false;
	if (word[length] == '\0')
		return true;
	if (option->value == NULL || word[1] != '-' || word[length] != '=')
		return false;
	*value = word + length + 1;
	return true;
}

static const struct hbctl_option *
option_find(const struct hbctl_option *list, const char *word, const char **value)
{
	for (; list != NULL && list->name != NULL; list++) {
		if (option_matches(list, word, value))
			return list;
	}
	return NULL;
}

static int
take_global(struct hbctl *hbctl, const struct hbctl_option *option, const char *value,
	char error[HBCTL_ERROR_BYTES])
{
	if (strcmp(option->name, "--json") == 0) {
		hbctl->json = true;
	} else if (strcmp(option->name, "--help") == 0 || strcmp(option->name, "-h") == 0) {
		hbctl->help = true;
	} else if (strcmp(option->name, "--version") == 0) {
		hbctl->version = true;
	} else if (strcmp(option->name, "-c") == 0) {
		hbctl->config_argument = value;
	} else {
		HB_ASSERT(strcmp(option->name, "-o") == 0);
		if (hbctl->assignment_count == HBCTL_ASSIGNMENTS_MAX) {
			snprintf(error, HBCTL_ERROR_BYTES, "more than %d options -o",
				HBCTL_ASSIGNMENTS_MAX);
			return HBCTL_USAGE;
		}
		hbctl->assignment[hbctl->assignment_count++] = value;
	}
	return HBCTL_OK;
}

static int
take_option(struct hbctl *hbctl, const struct hbctl_option *option, const char *value,
	char error[HBCTL_ERROR_BYTES])
{
	if (!option->repeats && hbctl_option_value(hbctl, option->name) != NULL) {
		snprintf(error, HBCTL_ERROR_BYTES, "option %s is given twice", option->name);
		return HBCTL_USAGE;
	}
	if (hbctl->option_count == HBCTL_OPTIONS_MAX) {
		snprintf(error, HBCTL_ERROR_BYTES, "more than %d options", HBCTL_OPTIONS_MAX);
		return HBCTL_USAGE;
	}
	hbctl->option[hbctl->option_count].option = option;
	hbctl->option[hbctl->option_count].value = value == NULL ? "" : value;
	hbctl->option_count++;
	return HBCTL_OK;
}

/* One word that begins with a dash; may eat the next word. */
static int
parse_option(struct hbctl *hbctl, int argc, char **argv, int *at, char error[HBCTL_ERROR_BYTES])
{
	const char *word = argv[*at];
	const char *value;
	const struct hbctl_option *global = option_find(hbctl_global_options, word, &value);
	const struct hbctl_option *option = global;

	if (option == NULL && hbctl->command != NULL)
		option = option_find(hbctl->command->options, word, &value);
	if (option == NULL) {
		snprintf(error, HBCTL_ERROR_BYTES, "unknown option '%s'%s%s; see 'hbctl %s%s'",
			word, hbctl->command == NULL ? "" : " of ",
			hbctl->command == NULL ? "" : hbctl->command->name,
			hbctl->command == NULL ? "--help" : "help ",
			hbctl->command == NULL ? "" : hbctl->command->name);
		return HBCTL_USAGE;
	}
	if (option->value != NULL && value == NULL) {
		if (*at + 1 >= argc || strncmp(argv[*at + 1], "--", 2) == 0) {
			snprintf(error, HBCTL_ERROR_BYTES, "option %s needs a value: %s %s", word,
				word, option->value);
			return HBCTL_USAGE;
		}
		value = argv[++*at];
	}
	if (option == global)
		return take_global(hbctl, option, value, error);
	return take_option(hbctl, option, value, error);
}

static void
unknown_command(const char *name, char error[HBCTL_ERROR_BYTES])
{
	const char *meant = hbctl_suggest(name);

	if (meant != NULL)
		snprintf(error, HBCTL_ERROR_BYTES, "unknown command '%s'; did you mean '%s'?", name,
			meant);
	else
		snprintf(error, HBCTL_ERROR_BYTES,
			"unknown command '%s'; 'hbctl --help' lists them", name);
}

/* A word of two-word commands waits in `group` until its second word comes. */
static int
parse_word(struct hbctl *hbctl, const char *word, const char **group, char error[HBCTL_ERROR_BYTES])
{
	const struct hbctl_command *command = NULL;
	char name[HBCTL_NAME_BYTES];

	if (*group != NULL) {
		snprintf(name, sizeof(name), "%s %s", *group, word);
		command = hbctl_command_find(name);
		*group = NULL;
		if (command == NULL && hbctl->command == NULL) {
			unknown_command(name, error);
			return HBCTL_USAGE;
		}
		if (command != NULL) {
			hbctl->command = command;
			return HBCTL_OK;
		}
	} else if (hbctl->command == NULL) {
		hbctl->command = hbctl_command_find(word);
		if (hbctl_is_group(word))
			*group = word;
		else if (hbctl->command == NULL) {
			unknown_command(word, error);
			return HBCTL_USAGE;
		}
		return HBCTL_OK;
	}
	if (hbctl->positional_count == HBCTL_POSITIONAL_MAX) {
		snprintf(error, HBCTL_ERROR_BYTES, "too many arguments, beginning with '%s'", word);
		return HBCTL_USAGE;
	}
	hbctl->positional[hbctl->positional_count++] = word;
	return HBCTL_OK;
}

static int
check_arity(const struct hbctl *hbctl, char error[HBCTL_ERROR_BYTES])
{
	const struct hbctl_command *command = hbctl->command;
	int min, max;

	hbctl_arity(command, &min, &max);
	if (hbctl->positional_count >= min && hbctl->positional_count <= max)
		return HBCTL_OK;
	if (hbctl->positional_count > max)
		snprintf(error, HBCTL_ERROR_BYTES, "%s does not take '%s'; usage: hbctl %s%s%s",
			command->name, hbctl->positional[max], command->name,
			command->arguments[0] == '\0' ? "" : " ", command->arguments);
	else
		snprintf(error, HBCTL_ERROR_BYTES, "%s needs more; usage: hbctl %s %s",
			command->name, command->name, command->arguments);
	return HBCTL_USAGE;
}

int
hbctl_parse(struct hbctl *hbctl, int argc, char **argv, char error[HBCTL_ERROR_BYTES])
{
	const char *group = NULL;
	bool only_words = false;
	int result = HBCTL_OK;

	/* first, so that errors on the way to it are told as JSON, too */
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		hbctl->json = hbctl->json || strcmp(argv[i], "--json") == 0;
	for (int i = 1; i < argc && result == HBCTL_OK; i++) {
		if (!only_words && strcmp(argv[i], "--") == 0)
			only_words = true;
		else if (!only_words && argv[i][0] == '-' && argv[i][1] != '\0')
			result = parse_option(hbctl, argc, argv, &i, error);
		else
			result = parse_word(hbctl, argv[i], &group, error);
	}
	if (result != HBCTL_OK || hbctl->help || hbctl->version)
		return result;
	if (hbctl->command == NULL && group != NULL) {
		snprintf(error, HBCTL_ERROR_BYTES, "'%s' needs a second word; see 'hbctl help %s'",
			group, group);
		return HBCTL_USAGE;
	}
	if (hbctl->command == NULL) {
		snprintf(error, HBCTL_ERROR_BYTES, "what shall be done? 'hbctl --help' lists it");
		return HBCTL_USAGE;
	}
	return check_arity(hbctl, error);
}

static const char *
config_choose(const struct hbctl *hbctl)
{
	const char *environment = getenv("HB_CONFIG");

	if (hbctl->config_argument != NULL)
		return hbctl->config_argument;
	if (environment != NULL && environment[0] != '\0')
		return environment;
	for (size_t i = 0; i < sizeof(config_places) / sizeof(config_places[0]); i++) {
		if (access(config_places[i], F_OK) == 0)
			return config_places[i];
	}
	return NULL;
}

int
hbctl_load_config(struct hbctl *hbctl, char error[HBCTL_ERROR_BYTES])
{
	const char *path = config_choose(hbctl);
	char why[256] = "";

	hbctl->config_path[0] = '\0';
	if (path == NULL && hbctl->command->needs_node && hbctl->assignment_count == 0) {
		snprintf(error, HBCTL_ERROR_BYTES,
			"no configuration: neither ./run/etc/hongbao.conf nor "
			"/etc/hongbao/hongbao.conf nor "
			"/var/lib/hongbao/etc/hongbao.conf is there; give -c FILE or set "
			"HB_CONFIG");
		return HBCTL_USAGE;
	}
	if (path != NULL && strlen(path) >= sizeof(hbctl->config_path)) {
		snprintf(error, HBCTL_ERROR_BYTES, "the path given to -c is too long");
		return HBCTL_USAGE;
	}
	if (path != NULL)
		snprintf(hbctl->config_path, sizeof(hbctl->config_path), "%s", path);
	if (hb_config_load(&hbctl->config, path, why) != 0) {
		snprintf(error, HBCTL_ERROR_BYTES, "%s", why);
		return HBCTL_USAGE;
	}
	for (int i = 0; i < hbctl->assignment_count; i++) {
		if (hb_config_set(&hbctl->config, hbctl->assignment[i], why) != 0) {
			snprintf(error, HBCTL_ERROR_BYTES, "-o: %s", why);
			return HBCTL_USAGE;
		}
	}
	return HBCTL_OK;
}
