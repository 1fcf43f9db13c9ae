# SPDX-License-Identifier: Apache-2.0
# The upper end of a share is never drawn.
# source: shm/split.c
# caught by: unit:engine split
s/draws_below(draws, upper + 1)/draws_below(draws, upper)/
