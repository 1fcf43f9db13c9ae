# SPDX-License-Identifier: Apache-2.0
# A consumer's tail does not order the reads before it.
# source: shm/ring.c
# test: shm_ring/test_ring.c
s/end->position, memory_order_release); \/\* C2 \*\//end->position, memory_order_relaxed);/
