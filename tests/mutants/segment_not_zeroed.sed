# SPDX-License-Identifier: Apache-2.0
# A new segment's zeros are not on disk when it is used.
# source: persist/pool.c
# caught by: simulator
/^write_zeros/,/^}/s/if (rc == 0 && fsync(fd) != 0)/if (rc == 0 \&\& fd < 0)/
