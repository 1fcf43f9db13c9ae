# SPDX-License-Identifier: Apache-2.0
# A forged money token passes.
# source: shm/decide_token.c
# caught by: unit:engine packets
s/frame->token_expiry_s, frame->operation) == frame->token_mac)/frame->token_expiry_s, frame->operation) != 0)/
