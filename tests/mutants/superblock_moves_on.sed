# SPDX-License-Identifier: Apache-2.0
# After a failed write the other, good copy is touched.
# source: persist/superblock.c
# caught by: unit:journal recovery
s/superblock->generation--;/;/
