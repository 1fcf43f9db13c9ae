/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Random seeds: dataplane/seeds.h.
 */
#include "dataplane/seeds.h"

#include <string.h>
#include <sys/random.h>

#include "base/assert.h"

void
hb_seed_take(struct hb_seeds *seeds, uint8_t seed[HB_SEED_BYTES])
{
	if (seeds->left == 0) {
		/* Up to 256 bytes come whole, without waiting and without interruption (random(7)).
		 */
		HB_ASSERT(getrandom(seeds->bytes, sizeof(seeds->bytes), 0) ==
			  (ssize_t)sizeof(seeds->bytes));
		seeds->left = HB_SEEDS_AHEAD;
	}
	seeds->left--;
	memcpy(seed, seeds->bytes[seeds->left], HB_SEED_BYTES);
	explicit_bzero(seeds->bytes[seeds->left], HB_SEED_BYTES);
}
