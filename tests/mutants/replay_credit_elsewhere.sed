# SPDX-License-Identifier: Apache-2.0
# A replay in several threads loses the credits to the partitions of another thread.
# source: persist/replay_crew.c
# caught by: unit:journal replay
s/return credit.account != 0 \&\&/return credit.account > UINT64_MAX - 1 \&\&/
