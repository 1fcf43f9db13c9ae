# SPDX-License-Identifier: Apache-2.0
# A signed request may be replayed.
# source: controlplane/nonce_cache.c
# caught by: unit:control nonce_cache
s/result = -EEXIST;/result = 0;/
