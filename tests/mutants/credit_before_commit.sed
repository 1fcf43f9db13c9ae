# SPDX-License-Identifier: Apache-2.0
# The grabber may spend his share before the grab is on disk.
# source: dataplane/replies.c
# caught by: simulator
s/entry.credit\[i\] = credits\[i\];/(void)hb_credit_deliver(lcore, owned->partition->number, \&credits[i]);/
s/entry.credit_count = (uint8_t)credit_count;/entry.credit_count = 0;/
