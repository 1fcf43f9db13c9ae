/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who sits before this terminal. hbctl runs as root, so the uid says nothing; the kernel remembers
 * who logged in (loginuid, which survives su and sudo), sudo says who called it. Only where neither
 * knows may --operator say it. Nothing is kept.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/hbctl/hbctl.h"

#define LOGIN_UID_PATH "/proc/self/loginuid"
#define NO_LOGIN_UID   UINT32_MAX

/* @return the uid that logged in, 0 when nobody did */
static uint32_t
login_uid(void)
{
	char text[16] = "";
	uint64_t uid = 0;
	int fd = open(LOGIN_UID_PATH, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return 0;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (got <= 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	return hbctl_parse_u64(text, 1, NO_LOGIN_UID - 1, &uid) ? (uint32_t)uid : 0;
}

static uint32_t
sudo_uid(void)
{
	const char *text = getenv("SUDO_UID");
	uint64_t uid = 0;

	if (text == NULL || getuid() != 0 || !hbctl_parse_u64(text, 1, NO_LOGIN_UID - 1, &uid))
		return 0;
	return (uint32_t)uid;
}

static void
name_of(uint32_t uid, char name[HBCTL_NAME_BYTES])
{
	const struct passwd *entry = getpwuid(uid);

	if (entry != NULL)
		snprintf(name, HBCTL_NAME_BYTES, "%s", entry->pw_name);
	else
		snprintf(name, HBCTL_NAME_BYTES, "uid-%" PRIu32, uid);
}

int
hbctl_operator(struct hbctl *hbctl, uint32_t *uid, char name[HBCTL_NAME_BYTES])
{
	const char *said = hbctl_option_value(hbctl, "--operator");
	uint32_t known = login_uid();
	const struct passwd *entry;

	if (known == 0)
		known = sudo_uid();
	if (known == 0)
		known = getuid();
	name_of(known, name);
	*uid = known;
	if (said == NULL)
		return HBCTL_OK;
	entry = getpwnam(said);
	if (entry == NULL)
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"--operator %.64s: there is no such user on this machine", said);
	if (known != 0 && entry->pw_uid != known)
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"--operator %.64s: you are logged in as %s, and an operator speaks for "
			"himself",
			said, name);
	*uid = entry->pw_uid;
	snprintf(name, HBCTL_NAME_BYTES, "%s", entry->pw_name);
	return HBCTL_OK;
}
