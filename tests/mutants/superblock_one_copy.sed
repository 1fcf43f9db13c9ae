# SPDX-License-Identifier: Apache-2.0
# The superblock's good copy is overwritten.
# source: persist/superblock.c
# caught by: simulator
s/(off_t)(superblock->generation % HB_SUPERBLOCK_COPIES) \* HB_SUPERBLOCK_BYTES;/0;/
