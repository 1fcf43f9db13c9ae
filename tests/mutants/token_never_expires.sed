# SPDX-License-Identifier: Apache-2.0
# An expired money token passes.
# source: shm/decide_token.c
# caught by: unit:engine packets
s/if (frame->token_expiry_s < now_s)/if (frame->token_expiry_s == 0)/
