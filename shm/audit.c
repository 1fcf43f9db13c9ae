/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory audit of accounts: see engine.h. Owner's thread only.
 */
#include "shm/engine.h"
#include "shm/ids.h"
#include "shm/state_internal.h"

int
hb_audit_step(struct hb_partition *p, uint32_t slots)
{
	uint64_t end = p->audit.cursor + slots;
	bool equal;

	if (end > p->capacity.accounts)
		end = p->capacity.accounts;
	for (; p->audit.cursor < end; p->audit.cursor++) {
		const struct hb_account *account = &p->accounts[p->audit.cursor];

		if (account->id != 0)
			p->audit.sum += hbi_balance_delta(
				account->id, account->available_fen, account->frozen_fen);
	}
	if (end < p->capacity.accounts)
		return 0;
	equal = p->audit.sum == p->head->balance_hash;
	p->audit.cursor = 0;
	p->audit.sum = 0;
	return equal ? 1 : -1;
}
