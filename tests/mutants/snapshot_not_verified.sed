# SPDX-License-Identifier: Apache-2.0
# A damaged section of a snapshot is loaded.
# source: persist/snapshot.c
# caught by: unit:journal snapshot
s/if (stream->crc != section.data_crc || memcmp(sha256, section.sha256, sizeof(sha256)) != 0)/if (false)/
s/if (rc == 0 \&\& (stream.length != section.length || stream.crc != section.data_crc))/if (false)/
