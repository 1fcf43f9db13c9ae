# SPDX-License-Identifier: Apache-2.0
# A transfer does not use its token's sequence up.
# source: shm/apply.c
# caught by: unit:engine accounts
/^apply_transfer/,/^}/s/hbi_window_use(p, &r->token, r->from, r->head.time_ns);//
