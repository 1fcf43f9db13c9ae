# SPDX-License-Identifier: Apache-2.0
# Anybody may look at a packet.
# source: shm/decide_packet.c
# caught by: unit:engine packets
s/return input->trusted || frame->user == packet->sender || may_grab(packet, frame) ||/return true || frame->user == packet->sender || may_grab(packet, frame) ||/
