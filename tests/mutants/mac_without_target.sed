# SPDX-License-Identifier: Apache-2.0
# A money token is good for any target.
# source: shm/token.c
# caught by: unit:engine packets
/^hb_token_mac(/,/^}/s/user, target,/user, 0 * target,/
