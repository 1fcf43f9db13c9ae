/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl key rotate token: a new key for money tokens on a running node. The file is replaced in one
 * step before the dataplane is told, so that a dataplane that starts at any moment knows every key
 * that a valid token may be signed with. When hbctl dies between the two, the command given again
 * makes one key more; no token is lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hex.h"
#include "dataplane/key_file.h"
#include "shm/limits.h"
#include "tools/hbctl/hbctl.h"

#define KEY_SLACK_S 120 /* the clocks of the ledger and of this program may differ */

/* The next file: a fresh key first, then those before that still verify. @return 0 or -EAGAIN */
static int
next_keys(struct hb_token_keys *keys, uint64_t now_s)
{
	struct hb_token_keys next = {.count = 1};
	int result = 0;

	HB_ASSERT(getrandom(next.key[0], HB_TOKEN_KEY_BYTES, 0) == HB_TOKEN_KEY_BYTES);
	for (uint32_t i = 0; i < keys->count; i++) {
		uint64_t until_s =
			i == 0 ? now_s + HB_TOKEN_LIFETIME_S + KEY_SLACK_S : keys->until_s[i];

		if (until_s < now_s)
			continue;
		if (next.count == HB_TOKEN_KEYS_MAX) {
			result = -EAGAIN;
			break;
		}
		memcpy(next.key[next.count], keys->key[i], HB_TOKEN_KEY_BYTES);
		next.until_s[next.count++] = until_s;
	}
	if (result == 0)
		*keys = next;
	explicit_bzero(&next, sizeof(next));
	return result;
}

static size_t
format_keys(const struct hb_token_keys *keys, char text[HB_KEY_FILE_BYTES_MAX])
{
	size_t length = 0;

	for (uint32_t i = 0; i < keys->count; i++) {
		HB_ASSERT(length + 2 * HB_TOKEN_KEY_BYTES < HB_KEY_FILE_BYTES_MAX);
		hb_hex_text(text + length, keys->key[i], HB_TOKEN_KEY_BYTES);
		length += 2 * HB_TOKEN_KEY_BYTES;
		if (i > 0)
			length += (size_t)snprintf(text + length, HB_KEY_FILE_BYTES_MAX - length,
				" %" PRIu64, keys->until_s[i]);
		length += (size_t)snprintf(text + length, HB_KEY_FILE_BYTES_MAX - length, "\n");
		HB_ASSERT(length < HB_KEY_FILE_BYTES_MAX);
	}
	return length;
}

/* Replace the file in one step, with its owner and rights. @return 0 or -errno */
static int
replace_file(const char *path, const char *text, size_t length)
{
	char fresh[HB_PATH_MAX + 8];
	struct stat st;
	int result = 0;
	int fd;

	if (stat(path, &st) != 0)
		return -errno;
	snprintf(fresh, sizeof(fresh), "%s.new", path);
	unlink(fresh);
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0400);
	if (fd < 0)
		return -errno;
	if (write(fd, text, length) != (ssize_t)length || fchown(fd, st.st_uid, st.st_gid) != 0 ||
		fchmod(fd, st.st_mode & 0700) != 0 || fsync(fd) != 0 || rename(fresh, path) != 0)
		result = errno != 0 ? -errno : -EIO;
	if (result != 0)
		unlink(fresh);
	close(fd);
	return result;
}

static int
rotate(const char *path, struct hb_token_keys *keys, char error[HBCTL_ERROR_BYTES])
{
	char text[HB_KEY_FILE_BYTES_MAX];
	char why[256] = "";
	int result = hb_key_file_read(path, keys, why);

	if (result != 0) {
		snprintf(error, HBCTL_ERROR_BYTES, "%s", why);
		return result;
	}
	result = next_keys(keys, hb_wall_ns() / 1000000000);
	if (result != 0) {
		snprintf(error, HBCTL_ERROR_BYTES,
			"tokens of %d keys are still good; wait until the oldest have expired, at "
			"most an hour",
			HB_TOKEN_KEYS_MAX);
		return result;
	}
	result = replace_file(path, text, format_keys(keys, text));
	explicit_bzero(text, sizeof(text));
	if (result != 0)
		snprintf(error, HBCTL_ERROR_BYTES, "cannot replace %.300s: %s", path,
			strerror(-result));
	return result;
}

int
hbctl_run_key_rotate(struct hbctl *hbctl)
{
	char error[HBCTL_ERROR_BYTES] = "";
	struct hb_token_keys keys;
	char path[HB_PATH_MAX];
	uint32_t before;
	int result;

	if (strcmp(hbctl->positional[0], "token") != 0)
		return hbctl_fail(hbctl, HBCTL_USAGE,
			"'%.40s' cannot be rotated by hbctl; 'token' can", hbctl->positional[0]);
	hb_path(path, hbctl->config.node_directory, HB_PATH_KEY_TOKEN);
	result = rotate(path, &keys, error);
	before = keys.count - 1;
	explicit_bzero(&keys, sizeof(keys));
	if (result != 0)
		return hbctl_fail(hbctl, HBCTL_WRONG, "%s", error);
	if (hbctl_dataplane_reload(hbctl, error) != 0)
		return hbctl_fail(hbctl, HBCTL_UNREACHABLE,
			"the key file is new, but the dataplane does not use it yet: %s", error);
	if (hbctl->json)
		hbctl_print_json(
			hbctl, json_pack("{s:b, s:i}", "ok", 1, "keys_before", (int)before));
	else
		fprintf(hbctl->out,
			"a new key signs; %u before it still verify, each until its last token has "
			"expired\n",
			before);
	return HBCTL_OK;
}
