# SPDX-License-Identifier: Apache-2.0
# Anybody hears whether a token's sequence was used.
# source: shm/decide_token.c
# caught by: unit:engine accounts
s/return of_token ? token_used_status(p, frame, input) : HB_STATUS_CONFLICT;/return of_token ? HB_STATUS_SEQUENCE_USED : HB_STATUS_CONFLICT;/
