# SPDX-License-Identifier: Apache-2.0
# In a packet with an index, the winner is not entered.
# source: shm/apply.c
# caught by: simulator
s/hbi_claim_index_add(p, packet, taken);//
