# SPDX-License-Identifier: Apache-2.0
# A producer does not wait for room.
# source: shm/ring.c
# caught by: unit:shm ring
s/if (used > end->capacity || bytes > end->capacity - used) {/if (used > end->capacity) {/
