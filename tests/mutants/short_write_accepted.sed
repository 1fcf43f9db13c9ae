# SPDX-License-Identifier: Apache-2.0
# A journal write that was cut short counts as done.
# source: persist/writer.c
# caught by: simulator
s/if (n != (ssize_t)frame_length)/if (n < 0)/
