# SPDX-License-Identifier: Apache-2.0
# A notice that was overwritten is believed.
# source: shm/notices.c
# caught by: unit:shm notices
s/!= 2 \* number + 2)/== UINT64_MAX)/
