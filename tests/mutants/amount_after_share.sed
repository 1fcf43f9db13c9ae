# SPDX-License-Identifier: Apache-2.0
# What is left of a packet shrinks by the wrong share.
# source: shm/apply.c
# caught by: simulator
s/packet->left_fen -= r->amount_fen;/packet->left_fen -= r->amount_fen - (r->amount_fen > 1);/
