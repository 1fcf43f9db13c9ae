# SPDX-License-Identifier: Apache-2.0
# The shares of a large packet's next step are drawn one grab late.
# source: shm/apply.c
# caught by: unit:engine packets
s/(taken + 1) % HB_EXPAND_SHARES_MAX == 0/taken % HB_EXPAND_SHARES_MAX == 0 \&\& taken > 0/
