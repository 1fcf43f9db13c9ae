# SPDX-License-Identifier: Apache-2.0
# A money token is good for any target.
# source: shm/token.c
# caught by: unit:engine packets
s/{id, user, target, last_mac_word/{id, user, 0 * target, last_mac_word/
