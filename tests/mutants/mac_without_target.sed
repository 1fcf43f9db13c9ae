# SPDX-License-Identifier: Apache-2.0
# A money token is good for any target.
# source: shm/token.c
# caught by: unit:engine packets
s/hb_siphash_word(&mac, word\[2\]);/hb_siphash_word(&mac, 0);/
s/{id, user, target, last/{id, user, 0, last/
