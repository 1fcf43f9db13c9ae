/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The seam to the environment that runs lcores: DPDK's EAL (env_dpdk.c) or plain threads
 * (env_plain.c). Exactly one of them is linked; nothing else in the dataplane knows which.
 *
 * If the process dies here, the kernel takes everything back but the EAL's run-time directory,
 * which lies in a private directory under /tmp.
 */
#ifndef HB_DATAPLANE_ENV_H
#define HB_DATAPLANE_ENV_H

#include <stdint.h>

#include "base/config.h"

#define HB_ENV_ERROR_MAX 256

typedef int hb_env_lcore_fn(void *argument);

/**
 * Start the environment: as many worker lcores as config->dataplane_lcores, waiting.
 * The calling thread becomes the main lcore.
 * @param error on failure: what is wrong and what to do
 * @return 0 or -errno
 */
int hb_env_start(const struct hb_config *config, char error[HB_ENV_ERROR_MAX]);

/** Run a function on worker lcore 0 .. lcores-1. @return 0 or -errno */
int hb_env_launch(uint32_t worker, hb_env_lcore_fn *fn, void *argument);

/** Wait until every launched function has returned. */
void hb_env_wait(void);

/** Undo hb_env_start; the workers must have returned. */
void hb_env_stop(void);

/** A short pause in a spin loop. */
void hb_env_pause(void);

#endif
