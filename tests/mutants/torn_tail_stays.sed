# SPDX-License-Identifier: Apache-2.0
# Remains of a torn frame are not zeroed.
# source: persist/recovery.c
# caught by: unit:journal recovery
s/if (rc == 0 && (uint64_t)end > offset) {/if (rc == 0 \&\& (uint64_t)end > offset \&\& offset == 1) {/
