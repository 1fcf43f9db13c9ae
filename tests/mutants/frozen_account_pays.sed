# SPDX-License-Identifier: Apache-2.0
# A frozen account may pay.
# source: shm/decide_internal.h
# caught by: unit:engine holds
/^hbi_debit_check/,/^}/s/if (account->barred)/if (false)/
