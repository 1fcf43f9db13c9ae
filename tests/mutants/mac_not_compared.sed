# SPDX-License-Identifier: Apache-2.0
# A forged money token passes.
# source: shm/decide_token.c
# caught by: unit:engine packets
s/initial) == frame->token_mac)/initial) != 0)/
