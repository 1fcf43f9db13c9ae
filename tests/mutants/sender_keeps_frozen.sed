# SPDX-License-Identifier: Apache-2.0
# A grab does not take the share from the sender's frozen balance.
# source: shm/apply.c
# caught by: simulator
s/hbi_change(p, hb_account_find(p, packet->sender), 0, -r->amount_fen);//
