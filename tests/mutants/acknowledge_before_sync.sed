# SPDX-License-Identifier: Apache-2.0
# An answer leaves before the disk has it: the write is not synced.
# source: persist/writer.c
# caught by: simulator
s/(off_t)journal->segment_offset, RWF_DSYNC)/(off_t)journal->segment_offset, 0)/
