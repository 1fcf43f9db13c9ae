-- SPDX-License-Identifier: Apache-2.0
-- Version 2: several servers. The server itself says which shards it has; and of packets whose
-- shard another server has, it knows sender and send order, which orders of grabs name. A ledger
-- of version 1 had all shards.

CREATE TABLE IF NOT EXISTS shard (
	shard TINYINT UNSIGNED NOT NULL,
	PRIMARY KEY (shard)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

CREATE TABLE IF NOT EXISTS origin_NN (
	packet BIGINT UNSIGNED NOT NULL,
	sender BIGINT UNSIGNED NOT NULL,
	order_stamp BIGINT UNSIGNED NOT NULL,
	jseq BIGINT UNSIGNED NOT NULL,
	PRIMARY KEY (packet)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

INSERT INTO shard (shard)
	SELECT CAST(SUBSTRING('_NN', 2) AS UNSIGNED) FROM jpos
	WHERE NOT EXISTS (SELECT 1 FROM shard WHERE shard = CAST(SUBSTRING('_NN', 2) AS UNSIGNED))
	LIMIT 1;
