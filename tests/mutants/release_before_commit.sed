# SPDX-License-Identifier: Apache-2.0
# Replies do not wait for the commit.
# source: dataplane/replies.c
# caught by: simulator
s/while (entry != NULL \&\& entry->position <= owned->committed)/while (entry != NULL)/
