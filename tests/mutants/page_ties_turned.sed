# SPDX-License-Identifier: Apache-2.0
# Orders of one moment are merged in the wrong order.
# source: controlplane/order_pages.c
# caught by: unit:control order_merge
s/return memcmp(a->order_no, b->order_no, sizeof(a->order_no)) > 0;/return memcmp(a->order_no, b->order_no, sizeof(a->order_no)) < 0;/
