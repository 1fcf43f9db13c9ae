# SPDX-License-Identifier: Apache-2.0
# A credit is applied twice.
# source: dataplane/credits.c
# caught by: simulator
s/hb_apply_credit(to, from_partition, credit);/hb_apply_credit(to, from_partition, credit), hb_apply_credit(to, from_partition, credit);/
