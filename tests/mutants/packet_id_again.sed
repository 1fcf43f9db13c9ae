# SPDX-License-Identifier: Apache-2.0
# The counter of packet ids does not move.
# source: shm/apply.c
# caught by: simulator
s/p->head->packet_counter = counter;//
