/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Becoming the persist user: the journal directory and the ledger in MySQL are its own, so what
 * looks at them from hbctl runs in a child that gave up root for good.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "tools/hbctl/hbctl.h"

int
hbctl_become_persist(const struct hbctl *hbctl, char error[HBCTL_ERROR_BYTES])
{
	const char *name = hbctl->config.user_persist;
	const struct passwd *user = getpwnam(name);

	if (user == NULL) {
		snprintf(error, HBCTL_ERROR_BYTES, "there is no user %s (user.persist)", name);
		return -ENOENT;
	}
	if (geteuid() == user->pw_uid)
		return 0;
	if (geteuid() != 0) {
		snprintf(error, HBCTL_ERROR_BYTES, "run hbctl as root or as %s", name);
		return -EPERM;
	}
	if (initgroups(user->pw_name, user->pw_gid) != 0 || setgid(user->pw_gid) != 0 ||
		setuid(user->pw_uid) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
		snprintf(error, HBCTL_ERROR_BYTES, "cannot become %s: %s", name, strerror(errno));
		return -errno;
	}
	return 0;
}
