# SPDX-License-Identifier: Apache-2.0
# Anybody may grab.
# source: shm/decide_packet.c
# caught by: unit:engine packets
s/return frame->group == packet->group;/return true;/
