# SPDX-License-Identifier: Apache-2.0
# A new segment's name is not on disk when it is used.
# source: persist/pool.c
# caught by: simulator
/^make_segment/,/^}/s/if (rc == 0 && fsync(journal->dir_fd) != 0)/if (rc == 0 \&\& journal->dir_fd < 0)/
