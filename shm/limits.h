/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Every limit of the engine is a number with a name, and the name is here.
 *
 * What a site may change is an option (base/config.c) with its own bounds; what is here is part
 * of a format or of an argument about safety, and changes only with it.
 */
#ifndef HB_SHM_LIMITS_H
#define HB_SHM_LIMITS_H

#define HB_PARTITION_COUNT 16 /* account -> partition = shard = table, for ever */
#define HB_LCORE_COUNT_MAX 16 /* worker lcores of one dataplane */
#define HB_NODE_MAX	   99 /* two decimal digits of an order number */
#define HB_BURST_MAX	   32 /* frames taken from one ring in one turn */

#define HB_MONEY_FEN_CAP	(INT64_C(1) << 62)    /* all money in a node stays below this */
#define HB_CREDIT_FEN_MAX	INT64_C(100000000000) /* one recharge: a thousand million yuan */
#define HB_PACKET_TOTAL_FEN_MAX INT64_C(2000000000)   /* a share must fit into 32 bits */
#define HB_PACKET_COUNT_MAX	100000		      /* shares of one packet */
#define HB_PACKET_LIFETIME_S_MAX                                                                   \
	2592000 /* 30 days; a claim's time offset must fit into 32 bits                            \
		 */
#define HB_PACKET_LIFETIME_S_DEFAULT 86400
#define HB_GREETING_BYTES_MAX	     128  /* UTF-8 */
#define HB_EXPAND_SHARES_MAX	     1024 /* shares drawn by one record */
#define HB_CLAIMS_LINEAR_MAX	     16	  /* up to this many shares a packet has no claim index */

#define HB_TOKEN_LIFETIME_S	    3600
#define HB_TOKEN_SEQUENCE_AHEAD_MAX 1024 /* how far one request may move a token's sequence */
#define HB_TOKEN_ASKS_MAX	    4096 /* waiting token asks of one partition */
#define HB_WINDOW_SWEEP_SLOTS	    4	 /* window slots looked at for expiry by one money record */

#define HB_HOLD_LIFETIME_S_MAX	   7776000 /* 90 days */
#define HB_HOLD_LIFETIME_S_DEFAULT 604800
#define HB_HOLDS_PER_DAY_MAX	   10000 /* of one account and reason */
#define HB_ID_SKIP_MAX		   64  /* counters one id may skip because their slots are in use */
#define HB_EVICT_SLOTS		   256 /* slots one decision looks at for something to forget */

#define HB_FRAME_AGE_S_MAX	600 /* a frame issued longer ago is refused */
#define HB_FRAME_AHEAD_S_MAX	60  /* and so is one from the future */
#define HB_FRAME_BYTES_MAX	256
#define HB_REPLY_BYTES_MAX	1024
#define HB_DETAIL_CLAIMS_MAX	24 /* claims in one detail reply */
#define HB_TOKENS_PER_REPLY_MAX 8

#define HB_IDEMPOTENCY_KEPT_S	  (7 * 86400)
#define HB_ORDER_RUN_AHEAD_MS_MAX 1000 /* how far order-number time may run ahead of the clock */

#define HB_RECORD_BYTES_MAX	   1024 /* one journal record */
#define HB_DECISION_RECORDS_MAX	   2	/* records of one decision */
#define HB_JOURNAL_FRAME_BYTES_MAX 262144
#define HB_JOURNAL_BLOCK_BYTES	   4096

#endif
