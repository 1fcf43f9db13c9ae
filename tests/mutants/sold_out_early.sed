# SPDX-License-Identifier: Apache-2.0
# A packet is sold out while its last share is there.
# source: shm/apply.c
# caught by: simulator
s/if (packet->left_count == 0) {/if (packet->left_count <= 1) {/
