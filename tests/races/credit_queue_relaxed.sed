# SPDX-License-Identifier: Apache-2.0
# What is in a queue between lcores is not ordered by its head.
# source: dataplane/spsc.h
# test: dataplane/test_queue.c
s/atomic_store_explicit(&queue->head, head + 1, memory_order_seq_cst);/atomic_store_explicit(\&queue->head, head + 1, memory_order_relaxed);/
