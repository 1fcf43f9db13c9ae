# SPDX-License-Identifier: Apache-2.0
# A failed journal write is logged and forgotten.
# source: persist/writer.c
# caught by: simulator
s/disk_failed(journal, n < 0/if (n == 12345) disk_failed(journal, n < 0/
