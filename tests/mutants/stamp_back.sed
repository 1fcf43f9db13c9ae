# SPDX-License-Identifier: Apache-2.0
# Order numbers follow the wall clock backwards.
# source: shm/order_number.c
# caught by: simulator
s/if (next < now_ms << STAMP_SEQUENCE_BITS)/if (next != now_ms << STAMP_SEQUENCE_BITS)/
