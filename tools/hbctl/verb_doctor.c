/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl doctor: run all parts, print their findings.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "tools/hbctl/doctor.h"

#define FOUND_BYTES 512
#define NAME_COLUMN 18

static const char *const health_names[] = {
	[HBCTL_HEALTH_OK] = "ok", [HBCTL_HEALTH_WARN] = "warn", [HBCTL_HEALTH_FAIL] = "fail"};

void
hbctl_doctor_say(struct hbctl_doctor *doctor, const char *name, enum hbctl_health health,
	const char *advice, const char *format, ...)
{
	char found[FOUND_BYTES];
	json_t *check;
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(found, sizeof(found), format, arguments);
	va_end(arguments);
	doctor->warnings += health == HBCTL_HEALTH_WARN;
	doctor->failures += health == HBCTL_HEALTH_FAIL;
	check = json_pack("{s:s, s:s, s:o}", "name", name, "state", health_names[health], "found",
		hbctl_json_string(found));
	if (advice[0] != '\0')
		json_object_set_new(check, "advice", hbctl_json_string(advice));
	json_array_append_new(doctor->checks, check);
}

bool
hbctl_doctor_read(const char *path, char *text, size_t bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	text[0] = '\0';
	if (fd < 0)
		return false;
	n = read(fd, text, bytes - 1);
	close(fd);
	if (n < 0)
		return false;
	text[n] = '\0';
	while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
		text[--n] = '\0';
	return true;
}

static void
print_checks(struct hbctl *hbctl, const struct hbctl_doctor *doctor)
{
	size_t index;
	json_t *check;

	json_array_foreach(doctor->checks, index, check)
	{
		const char *advice = hbctl_json_text(check, "advice");

		fprintf(hbctl->out, "%-5s %-*s %s\n", hbctl_json_text(check, "state"), NAME_COLUMN,
			hbctl_json_text(check, "name"), hbctl_json_text(check, "found"));
		if (advice[0] != '\0')
			fprintf(hbctl->out, "%*s-> %s\n", NAME_COLUMN + 7, "", advice);
	}
	fprintf(hbctl->out, "\n%zu checks, %d warning(s), %d failure(s)\n",
		json_array_size(doctor->checks), doctor->warnings, doctor->failures);
}

int
hbctl_run_doctor(struct hbctl *hbctl)
{
	struct hbctl_doctor doctor = {.hbctl = hbctl, .checks = json_array()};

	hbctl_doctor_machine(&doctor);
	if (hbctl->config_path[0] == '\0' && hbctl->assignment_count == 0) {
		hbctl_doctor_say(&doctor, "node", HBCTL_HEALTH_WARN,
			"give -c FILE, or start a node first, to have it looked at too",
			"no configuration was found; only the machine was looked at");
	} else if (access(hbctl->config.node_directory, F_OK) != 0) {
		hbctl_doctor_say(&doctor, "node", HBCTL_HEALTH_FAIL,
			"install the package or run ./hongbao up; is node.directory right?",
			"%s: %s", hbctl->config.node_directory, strerror(errno));
	} else {
		hbctl_doctor_disk(&doctor);
		hbctl_doctor_node(&doctor);
	}
	if (hbctl->json) {
		hbctl_print_json(
			hbctl, json_pack("{s:b, s:s, s:i, s:i, s:o}", "ok", doctor.failures == 0,
				       "directory", hbctl->config.node_directory, "warnings",
				       doctor.warnings, "failures", doctor.failures, "checks",
				       doctor.checks));
	} else {
		print_checks(hbctl, &doctor);
		json_decref(doctor.checks);
	}
	return doctor.failures == 0 ? HBCTL_OK : HBCTL_WRONG;
}
