# SPDX-License-Identifier: Apache-2.0
# A dataplane whose state was replaced may go on.
# source: persist/session.c
# caught by: simulator
s/if (epoch == state_epoch)/if (epoch != state_epoch + UINT64_MAX \/ 2)/
