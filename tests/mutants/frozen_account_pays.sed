# SPDX-License-Identifier: Apache-2.0
# A frozen account may transfer.
# source: shm/decide_control.c
# caught by: unit:engine holds
/^transfer_check/,/^}/s/if (from->barred)/if (false)/
