# SPDX-License-Identifier: Apache-2.0
# A credit to another lcore is dropped when nobody takes it at once.
# source: dataplane/credits.c
# caught by: simulator
s/if (!hb_spsc_push(\(.*\)))$/if (credit->amount_fen % 7 != 0 \&\& !hb_spsc_push(\1))/
