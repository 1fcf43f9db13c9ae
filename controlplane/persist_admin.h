/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The client of persist's admin socket: one JSON object per line, there and back.
 *
 * A connection per question; questions are rare (status, metrics, one job). No state besides the
 * path, so it is thread safe and there is nothing to repair after a failure of either side.
 */
#ifndef HB_CONTROLPLANE_PERSIST_ADMIN_H
#define HB_CONTROLPLANE_PERSIST_ADMIN_H

#include <stdint.h>

#include <jansson.h>

#include "base/paths.h"

#define HB_PERSIST_ADMIN_TIMEOUT_MS 1000
#define HB_PERSIST_ADMIN_LINE_MAX   262144

struct hb_persist_admin {
	char socket_path[HB_PATH_MAX];
};

/**
 * Ask {"cmd":command}.
 * @param answer on success the object, to be freed with json_decref
 * @param error on failure one sentence
 * @return 0; -errno of the connection; -ETIMEDOUT; -EPROTO for an answer that is not an object;
 * -EIO when persist answered {"ok":false}
 */
int hb_persist_admin_ask(const struct hb_persist_admin *persist, const char *command,
	json_t **answer, char error[256]);

#endif
