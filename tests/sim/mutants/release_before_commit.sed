# SPDX-License-Identifier: Apache-2.0
# Replies do not wait for the commit.
s/while (entry != NULL \&\& entry->position <= owned->committed)/while (entry != NULL)/
