/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Fresh random bytes for the shares of packets, from the kernel, a few packets ahead.
 *
 * Belongs to one lcore. A seed is wiped when it is handed out: until the packet closes only the
 * journal and the state know it.
 */
#ifndef HB_DATAPLANE_SEEDS_H
#define HB_DATAPLANE_SEEDS_H

#include <stdint.h>

#define HB_SEED_BYTES  32
#define HB_SEEDS_AHEAD 8

struct hb_seeds {
	uint8_t bytes[HB_SEEDS_AHEAD][HB_SEED_BYTES];
	uint32_t left;
};

/** Move one seed to `seed`; asks the kernel when none is left. */
void hb_seed_take(struct hb_seeds *seeds, uint8_t seed[HB_SEED_BYTES]);

#endif
