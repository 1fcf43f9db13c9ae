/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl config, hbctl help: what needs no node.
 */
#include <inttypes.h>
#include <string.h>

#include "tools/hbctl/hbctl.h"

/* Every option with its value in effect, from the one table. */
static json_t *
config_json(const struct hb_config *config)
{
	json_t *options = json_object();

#define ADD_INT(field, key, value, min, max, help)                                                 \
	json_object_set_new(options, key, json_integer(config->field));
#define ADD_TEXT(field, key, value, help)                                                          \
	json_object_set_new(options, key, hbctl_json_string(config->field));
	HB_CONFIG_TABLE(ADD_INT, ADD_TEXT)
#undef ADD_INT
#undef ADD_TEXT
	return options;
}

int
hbctl_run_config(struct hbctl *hbctl)
{
	const char *key = hbctl->positional_count > 0 ? hbctl->positional[0] : NULL;
	json_t *options;
	json_t *value;

	if (key == NULL && !hbctl->json) {
		hb_config_print(&hbctl->config, hbctl->out);
		return HBCTL_OK;
	}
	options = config_json(&hbctl->config);
	if (key == NULL) {
		hbctl_print_json(
			hbctl, json_pack("{s:b, s:o, s:o}", "ok", 1, "file",
				       hbctl_json_string(hbctl->config_path), "options", options));
		return HBCTL_OK;
	}
	value = json_incref(json_object_get(options, key));
	json_decref(options);
	if (value == NULL)
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"there is no option '%s'; 'hbctl config' lists them", key);
	if (hbctl->json)
		hbctl_print_json(
			hbctl, json_pack("{s:b, s:s, s:O}", "ok", 1, "key", key, "value", value));
	else if (json_is_integer(value))
		fprintf(hbctl->out, "%" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
	else
		fprintf(hbctl->out, "%s\n", json_string_value(value));
	json_decref(value);
	return HBCTL_OK;
}

/* All verbs that begin with this word. */
static int
help_group(struct hbctl *hbctl, const char *word)
{
	size_t length = strlen(word);
	bool first = true;

	for (const struct hbctl_command *c = hbctl_commands; c->name != NULL; c++) {
		if (strncmp(c->name, word, length) != 0 ||
			(c->name[length] != ' ' && c->name[length] != '\0'))
			continue;
		if (!first)
			fputc('\n', hbctl->out);
		hbctl_help_command(c, hbctl->out);
		first = false;
	}
	return HBCTL_OK;
}

int
hbctl_run_help(struct hbctl *hbctl)
{
	char name[HBCTL_NAME_BYTES];
	const struct hbctl_command *command;
	const char *meant;

	if (hbctl->positional_count == 0) {
		hbctl_help_all(hbctl->out);
		return HBCTL_OK;
	}
	if (strcmp(hbctl->positional[0], "all") == 0) {
		hbctl_help_manual(hbctl->out);
		return HBCTL_OK;
	}
	if (hbctl->positional_count == 1 && hbctl_is_group(hbctl->positional[0]))
		return help_group(hbctl, hbctl->positional[0]);
	snprintf(name, sizeof(name), "%s%s%s", hbctl->positional[0],
		hbctl->positional_count > 1 ? " " : "",
		hbctl->positional_count > 1 ? hbctl->positional[1] : "");
	command = hbctl_command_find(name);
	if (command == NULL) {
		meant = hbctl_suggest(name);
		return hbctl_fail(hbctl, HBCTL_USAGE, "unknown command '%s'%s%s%s", name,
			meant == NULL ? "" : "; did you mean '", meant == NULL ? "" : meant,
			meant == NULL ? "" : "'?");
	}
	hbctl_help_command(command, hbctl->out);
	return HBCTL_OK;
}
