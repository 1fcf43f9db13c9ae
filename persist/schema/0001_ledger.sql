-- SPDX-License-Identifier: Apache-2.0
-- Version 1: the ledger. A statement with NN is run for 00 to 15; NN = partition of the row's
-- account (orders, flows, accounts) or packet (packets, claims). Rows come only from journal
-- records; jseq is the sequence of the record that made the row. docs/schema.md says more.

CREATE TABLE IF NOT EXISTS jpos (
	stream BINARY(16) NOT NULL,
	epoch BIGINT UNSIGNED NOT NULL,
	seq BIGINT UNSIGNED NOT NULL,
	chain BINARY(32) NOT NULL,
	at_ns BIGINT UNSIGNED NOT NULL,
	PRIMARY KEY (stream)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

CREATE TABLE IF NOT EXISTS order_NN (
	order_no CHAR(32) NOT NULL,
	account BIGINT UNSIGNED NOT NULL,
	business SMALLINT UNSIGNED NOT NULL,
	state TINYINT UNSIGNED NOT NULL,
	amount_fen BIGINT NOT NULL,
	packet BIGINT UNSIGNED NOT NULL,
	peer BIGINT UNSIGNED NOT NULL,
	at_ms BIGINT UNSIGNED NOT NULL,
	jseq BIGINT UNSIGNED NOT NULL,
	PRIMARY KEY (order_no),
	KEY account_at (account, at_ms)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

CREATE TABLE IF NOT EXISTS claim_NN (
	packet BIGINT UNSIGNED NOT NULL,
	account BIGINT UNSIGNED NOT NULL,
	amount_fen BIGINT NOT NULL,
	share INT UNSIGNED NOT NULL,
	at_ms BIGINT UNSIGNED NOT NULL,
	jseq BIGINT UNSIGNED NOT NULL,
	PRIMARY KEY (packet, account)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

CREATE TABLE IF NOT EXISTS flow_NN (
	account BIGINT UNSIGNED NOT NULL,
	jseq BIGINT UNSIGNED NOT NULL,
	leg TINYINT UNSIGNED NOT NULL,
	available_delta BIGINT NOT NULL,
	frozen_delta BIGINT NOT NULL,
	available_after BIGINT NOT NULL,
	frozen_after BIGINT NOT NULL,
	order_no CHAR(32) NOT NULL,
	at_ms BIGINT UNSIGNED NOT NULL,
	PRIMARY KEY (account, jseq, leg)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

CREATE TABLE IF NOT EXISTS account_NN (
	account BIGINT UNSIGNED NOT NULL,
	available_fen BIGINT NOT NULL,
	frozen_fen BIGINT NOT NULL,
	version BIGINT UNSIGNED NOT NULL,
	kind TINYINT UNSIGNED NOT NULL,
	barred TINYINT UNSIGNED NOT NULL,
	opened_jseq BIGINT UNSIGNED NOT NULL,
	PRIMARY KEY (account)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

CREATE TABLE IF NOT EXISTS packet_NN (
	packet BIGINT UNSIGNED NOT NULL,
	sender BIGINT UNSIGNED NOT NULL,
	group_id BIGINT UNSIGNED NOT NULL,
	recipient BIGINT UNSIGNED NOT NULL,
	kind TINYINT UNSIGNED NOT NULL,
	algorithm TINYINT UNSIGNED NOT NULL,
	state TINYINT UNSIGNED NOT NULL,
	total_fen BIGINT NOT NULL,
	left_fen BIGINT NOT NULL,
	refunded_fen BIGINT NOT NULL,
	share_count INT UNSIGNED NOT NULL,
	left_count INT UNSIGNED NOT NULL,
	share_min_fen BIGINT NOT NULL,
	share_max_fen BIGINT NOT NULL,
	created_ms BIGINT UNSIGNED NOT NULL,
	deadline_ms BIGINT UNSIGNED NOT NULL,
	order_stamp BIGINT UNSIGNED NOT NULL,
	order_no CHAR(32) NOT NULL,
	greeting VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	commitment BINARY(32) NOT NULL,
	seed BINARY(32) NOT NULL,
	jseq BIGINT UNSIGNED NOT NULL,
	PRIMARY KEY (packet),
	KEY sender_created (sender, created_ms)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;
