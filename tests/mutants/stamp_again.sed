# SPDX-License-Identifier: Apache-2.0
# An order number is given out twice.
# source: shm/order_number.c
# caught by: simulator
s/uint64_t next = last + 1;/uint64_t next = last;/
