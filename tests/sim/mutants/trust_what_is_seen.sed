# SPDX-License-Identifier: Apache-2.0
# What recovery has read is taken for durable without a sync.
s/if (rc == 0 && fsync(fd) != 0)/if (rc == 0 \&\& fd < 0)/
