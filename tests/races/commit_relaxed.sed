# SPDX-License-Identifier: Apache-2.0
# The commit watermark does not order what was written before it.
# source: persist/commit.c
# test: persist/test_watermark.c
s/atomic_store_explicit(&commit->seq, seq, memory_order_release);/atomic_store_explicit(\&commit->seq, seq, memory_order_relaxed);/
