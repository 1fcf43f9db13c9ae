# SPDX-License-Identifier: Apache-2.0
# The words of a notice are written as plain memory while readers look.
# source: shm/notices.c
# test: shm_ring/test_notices.c
s/atomic_store_explicit(&slot->word\[i\], word\[i\], memory_order_release);.*/((uint64_t *)slot->word)[i] = word[i];/
