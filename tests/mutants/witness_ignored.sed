# SPDX-License-Identifier: Apache-2.0
# The superblock's word on what was durable is not heard.
# source: persist/reader.c
# caught by: unit:journal recovery
s/reader->superblock.durable_seq >= reader->next_seq/false/
