# SPDX-License-Identifier: Apache-2.0
# Over framed TCP a user is whom he says to be.
# source: front/framed.c
# caught by: unit:front framed
s/if (frame->user != 0 && frame->user != identity->account)/if (frame->user == UINT64_MAX)/
s/frame->user = identity->account;/frame->user = frame->user != 0 ? frame->user : identity->account;/
