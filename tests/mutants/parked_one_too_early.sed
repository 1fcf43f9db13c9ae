# SPDX-License-Identifier: Apache-2.0
# A reply is parked under what was committed, not under its own record.
# source: dataplane/replies.c
# caught by: simulator
s/{.position = owned->journal.position, .slot = slot}/{.position = owned->committed, .slot = slot}/
