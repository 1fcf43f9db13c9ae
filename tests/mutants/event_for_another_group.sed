# SPDX-License-Identifier: Apache-2.0
# Who is in any group hears what is for a user of that number.
# source: front/events.c
# caught by: unit:front events
s/(UINT64_C(1) << 63) \/\* users/UINT64_C(0) \/* users/
