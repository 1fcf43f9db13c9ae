# SPDX-License-Identifier: Apache-2.0
# A winner is not looked up: he may take a second share.
# source: shm/decide_packet.c
# caught by: simulator
s/claim = hbi_claim_find(p, packet, frame->user);/claim = NULL;/
