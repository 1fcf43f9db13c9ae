# SPDX-License-Identifier: Apache-2.0
# What a torn write left behind the end stays there.
s/if (rc == 0 \&\& (uint64_t)end > offset)/if (rc == 0 \&\& (uint64_t)end < offset)/
