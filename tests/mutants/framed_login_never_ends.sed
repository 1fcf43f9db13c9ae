# SPDX-License-Identifier: Apache-2.0
# A framed connection outlives its user token.
# source: front/framed.c
# caught by: unit:front framed
s/identity == NULL || identity->expires_s <= now_s/identity == NULL/
