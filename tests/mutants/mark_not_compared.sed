# SPDX-License-Identifier: Apache-2.0
# A mark that differs is overlooked.
# source: shm/apply.c
# caught by: unit:journal snapshot
s/return "MARK: the state hash differs from the replayed state";/return NULL;/
