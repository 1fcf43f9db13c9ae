# SPDX-License-Identifier: Apache-2.0
# A refund leaves frozen and does not come back.
# source: shm/apply.c
# caught by: simulator
s/hbi_change(p, hb_account_find(p, packet->sender), r->refund_fen, -r->refund_fen);/hbi_change(p, hb_account_find(p, packet->sender), 0, -r->refund_fen);/
