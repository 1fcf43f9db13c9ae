# SPDX-License-Identifier: Apache-2.0
# Packing leaves out a frame now and then.
# source: persist/pack.c
# caught by: unit:journal pack
s/p->open.unpacked_length += length;/p->open.unpacked_length += frame->frame_number % 5 == 3 ? 0 : length;/
