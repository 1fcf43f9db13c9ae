# SPDX-License-Identifier: Apache-2.0
# Damage before what was durable is cut like a torn tail.
# source: persist/reader.c
# caught by: simulator
s/reader->witness_seq >= reader->next_seq/false/
s/reader->superblock.durable_seq >= reader->next_seq/false/
s/later >= reader->next_seq/false/
