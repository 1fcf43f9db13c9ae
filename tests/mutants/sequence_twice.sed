# SPDX-License-Identifier: Apache-2.0
# A used sequence of a money token is taken again.
# source: shm/windows.c
# caught by: unit:engine accounts
s/return HB_STATUS_SEQUENCE_USED;/return HB_STATUS_OK;/
