/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of enumerations (names.h). Constant, so nothing to lose.
 */
#include "shm/names.h"

#include "shm/frame.h"
#include "shm/record.h"

const char *
hb_business_name(uint32_t business)
{
	switch (business) {
	case HB_BUSINESS_RECHARGE:
		return "recharge";
	case HB_BUSINESS_WITHDRAWAL:
		return "withdrawal";
	case HB_BUSINESS_PACKET_SEND:
		return "packet_send";
	case HB_BUSINESS_PACKET_GRAB:
		return "packet_grab";
	case HB_BUSINESS_PACKET_REFUND:
		return "packet_refund";
	case HB_BUSINESS_TRANSFER_OUT:
		return "transfer_out";
	case HB_BUSINESS_TRANSFER_IN:
		return "transfer_in";
	case HB_BUSINESS_REFUND:
		return "refund";
	case HB_BUSINESS_COLLECTION:
		return "collection";
	case HB_BUSINESS_ADJUSTMENT:
		return "adjustment";
	}
	return "unknown";
}

const char *
hb_order_state_name(uint32_t state)
{
	switch (state) {
	case HB_ORDER_OPEN:
		return "open";
	case HB_ORDER_DONE:
		return "done";
	case HB_ORDER_REQUESTED:
		return "requested";
	case HB_ORDER_APPROVED:
		return "approved";
	case HB_ORDER_SENDING:
		return "sending";
	case HB_ORDER_UNKNOWN:
		return "outcome_unknown";
	case HB_ORDER_FAILED:
		return "failed";
	case HB_ORDER_INVALID:
		return "invalid";
	}
	return "unknown";
}

const char *
hb_packet_state_name(uint32_t state)
{
	switch (state) {
	case HB_PACKET_OPEN:
		return "open";
	case HB_PACKET_SOLD_OUT:
		return "sold_out";
	case HB_PACKET_REFUNDED:
		return "refunded";
	}
	return "unknown";
}

const char *
hb_packet_kind_name(uint32_t kind)
{
	return kind == HB_PACKET_NORMAL ? "normal" : kind == HB_PACKET_LUCKY ? "lucky" : "unknown";
}

const char *
hb_split_algorithm_name(uint32_t algorithm)
{
	return algorithm == HB_SPLIT_DOUBLE_MEAN ? "double-mean"
	       : algorithm == HB_SPLIT_SEED	 ? "seed"
						 : "unknown";
}
