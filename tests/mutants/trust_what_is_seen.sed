# SPDX-License-Identifier: Apache-2.0
# What recovery has read is taken for durable without a sync.
# source: persist/recovery.c
# caught by: simulator
s/if (rc == 0 && fsync(fd) != 0)/if (rc == 0 \&\& fd < 0)/
