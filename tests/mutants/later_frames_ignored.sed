# SPDX-License-Identifier: Apache-2.0
# Frames behind the damage are not looked for.
# source: persist/reader.c
# caught by: unit:journal reader
s/if (later >= reader->next_seq)/if (later == UINT64_MAX)/
