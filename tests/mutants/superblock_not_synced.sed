# SPDX-License-Identifier: Apache-2.0
# A new epoch is used before it is on disk.
# source: persist/superblock.c
# caught by: simulator
s/n = pwritev2(fd, &part, 1, at, RWF_DSYNC);/n = pwritev2(fd, \&part, 1, at, 0);/
