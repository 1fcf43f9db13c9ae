# SPDX-License-Identifier: Apache-2.0
# A send's idempotency key is not kept.
# source: shm/apply.c
# caught by: simulator
/^apply_packet_create/,/^}/s/hbi_idempotency_keep(.*);//
