# SPDX-License-Identifier: Apache-2.0
# A winner hears one fen more than the record says.
# source: shm/decide_packet.c
# caught by: simulator
s/reply->amount_fen = claim->amount_fen;$/reply->amount_fen = claim->amount_fen + 1;/
