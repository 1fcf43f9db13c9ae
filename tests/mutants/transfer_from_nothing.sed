# SPDX-License-Identifier: Apache-2.0
# A transfer does not look at the balance.
# source: shm/decide_control.c
# caught by: simulator
/^transfer_check/,/^}/s/if (from->available_fen < f->amount_fen)/if (from->available_fen < 0)/
