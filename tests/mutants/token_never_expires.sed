# SPDX-License-Identifier: Apache-2.0
# An expired money token passes.
# source: shm/decide_token.c
# caught by: unit:engine packets
s/if (frame->token_expiry_s < hbi_now_ms(p, input) \/ 1000)/if (frame->token_expiry_s == 0)/
