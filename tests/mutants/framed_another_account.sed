# SPDX-License-Identifier: Apache-2.0
# A user reads another one's balance over framed TCP.
# source: front/framed.c
# caught by: unit:front framed
s/if (about_own_account(frame) && frame->target != identity->account)/if (about_own_account(frame) \&\& frame->target == 0)/
