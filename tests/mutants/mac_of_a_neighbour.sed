# SPDX-License-Identifier: Apache-2.0
# In a burst, a token is compared with the MAC of the first of its group.
# source: shm/token_batch.c
# caught by: unit:engine token
s/return batch->mac\[place\];/return batch->mac[group * HB_TOKEN_LANES];/
