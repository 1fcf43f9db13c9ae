# SPDX-License-Identifier: Apache-2.0
# The winner is told and given the next share instead of his.
# source: shm/decide_packet.c
# caught by: simulator
s/claim = &claims\[packet->count - packet->left_count\];/claim = \&claims[packet->count - packet->left_count + (packet->left_count > 1)];/
