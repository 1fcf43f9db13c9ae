# SPDX-License-Identifier: Apache-2.0
# The number of a grabber's order is told to everybody.
# source: front/events.c
# caught by: unit:front events
s/if (user == notice->user)$/if (user != UINT64_MAX)/
