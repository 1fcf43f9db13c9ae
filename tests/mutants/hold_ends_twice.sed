# SPDX-License-Identifier: Apache-2.0
# A hold that ended may end again.
# source: shm/decide_hold.c
# caught by: unit:engine holds
s/if (hold->state != HB_HOLD_OPEN)$/if (hold->state == 77)/
