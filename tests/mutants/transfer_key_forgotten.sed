# SPDX-License-Identifier: Apache-2.0
# A transfer's idempotency key is not kept.
# source: shm/apply.c
# caught by: simulator
/^apply_transfer/,/^}/s/hbi_idempotency_keep(.*);//
