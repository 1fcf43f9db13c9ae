# SPDX-License-Identifier: Apache-2.0
# Replay leaves out the first record behind the snapshot.
# source: persist/replay.c
# caught by: simulator
s/rc = hb_journal_reader_seek(reader, start->seq + 1);/rc = hb_journal_reader_seek(reader, start->seq + 1 + (start->seq != 0));/
