# SPDX-License-Identifier: Apache-2.0
# Of the faults that several threads found in a journal, not the first is told.
# source: persist/replay_crew.c
# caught by: unit:journal replay
s/fault->seq < first.seq/fault->seq > first.seq/
