# SPDX-License-Identifier: Apache-2.0
# A snapshot has its name before its bytes are on disk.
# source: persist/snapshot.c
# caught by: simulator
s/if (rc == 0 && fsync(fd) != 0)/if (rc == 0 \&\& fd < 0)/
