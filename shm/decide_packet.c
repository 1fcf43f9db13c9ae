/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deciding what members do with packets: send, grab, look, and what a deadline does. Pure
 * functions. The order of a grab's checks is part of its meaning: a winner always hears his
 * amount, refusals use nothing up.
 */
#include "shm/decide_internal.h"
#include "shm/node.h"
#include "shm/split.h"

/* What makes two sends the same command. */
struct send_parameters {
	uint64_t sender;
	uint64_t group;
	uint64_t recipient;
	int64_t total_fen;
	int64_t share_min_fen;
	int64_t share_max_fen;
	uint32_t count;
	uint32_t lifetime_s;
	uint8_t kind;
	uint8_t algorithm;
	uint8_t greeting_length;
	uint8_t reserved[5];
	uint8_t greeting[HB_GREETING_BYTES_MAX];
};
_Static_assert(sizeof(struct send_parameters) == 64 + HB_GREETING_BYTES_MAX, "no padding");

static void
send_parameters_fill(struct send_parameters *s, const struct hb_frame_packet_create *f)
{
	memset(s, 0, sizeof(*s));
	s->sender = f->head.user;
	s->group = f->head.group;
	s->recipient = f->recipient;
	s->total_fen = f->total_fen;
	s->share_min_fen = f->share_min_fen == 0 ? 1 : f->share_min_fen;
	s->share_max_fen = f->share_max_fen == 0 ? f->total_fen : f->share_max_fen;
	s->count = f->count;
	s->lifetime_s = f->lifetime_s == 0 ? HB_PACKET_LIFETIME_S_DEFAULT : f->lifetime_s;
	s->kind = f->kind;
	s->algorithm = f->algorithm == 0 ? HB_SPLIT_DOUBLE_MEAN : f->algorithm;
	s->greeting_length = f->greeting_length;
	memcpy(s->greeting, f->greeting, sizeof(s->greeting));
}

static bool
send_within_limits(const struct send_parameters *s, const struct hb_engine_config *config)
{
	if (s->total_fen > config->packet_total_fen_max || s->count > config->packet_count_max)
		return false;
	if (s->lifetime_s > config->packet_lifetime_s_max)
		return false;
	if (s->algorithm != HB_SPLIT_DOUBLE_MEAN && s->algorithm != HB_SPLIT_SEED)
		return false;
	if (s->kind == HB_PACKET_NORMAL &&
		(s->count != 1 || s->group != 0 || !hb_is_user_account(s->recipient)))
		return false;
	if (s->kind == HB_PACKET_LUCKY && (s->group == 0 || s->recipient != 0))
		return false;
	if (s->kind != HB_PACKET_NORMAL && s->kind != HB_PACKET_LUCKY)
		return false;
	return hb_split_possible(s->total_fen, s->count, s->share_min_fen, s->share_max_fen);
}

/* Is there a slot and a block for one more packet? */
static bool
send_has_room(const struct hb_partition *p, const struct send_parameters *s)
{
	return hbi_packet_counter_next(p) != 0 && hbi_arena_room(p, s->count, s->greeting_length);
}

static void
send_repeat(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_idempotency_entry *done, int64_t total_fen, struct hb_decision *decision)
{
	const struct hb_packet *packet = hb_packet_find(p, done->result);
	struct hb_reply *reply = hbi_reply(decision, frame, HB_STATUS_OK);

	reply->flags = HB_REPLY_ALREADY;
	reply->id = done->result;
	reply->order_stamp = packet != NULL ? packet->order_stamp : 0;
	reply->amount_fen = total_fen;
}

static void
send_record(const struct hb_partition *p, const struct send_parameters *s, uint64_t order_stamp,
	const struct hb_token_use *use, const struct hb_idempotency *keep,
	const struct hb_input *input, struct hb_decision *decision)
{
	uint32_t bytes = (uint32_t)(sizeof(struct hb_record_packet_create) +
				    hb_round_up(s->greeting_length, 8));
	struct hb_record_packet_create *r = hbi_record_begin(p, input, decision, bytes);

	r->packet = hb_id_make(HB_ID_PACKET, p->number, p->node, hbi_packet_counter_next(p));
	r->sender = s->sender;
	r->group = s->group;
	r->recipient = s->recipient;
	r->total_fen = s->total_fen;
	r->share_min_fen = s->share_min_fen;
	r->share_max_fen = s->share_max_fen;
	r->deadline_ms = r->head.time_ns / 1000000 + UINT64_C(1000) * s->lifetime_s;
	r->order_stamp = order_stamp;
	r->count = s->count;
	r->kind = s->kind;
	r->algorithm = s->algorithm;
	r->funding = HB_FUNDED_BY_BALANCE;
	r->greeting_length = s->greeting_length;
	memcpy(r->seed, input->seed, sizeof(r->seed));
	hb_split_commitment(r->commitment, r->packet, r->seed, r->total_fen, r->count,
		r->share_min_fen, r->share_max_fen, r->algorithm);
	r->token = *use;
	r->idempotency = *keep;
	memcpy(r->greeting, s->greeting, s->greeting_length);
	hbi_record_end(decision, r, HB_RECORD_PACKET_CREATE, bytes);
}

/* Everything that can refuse a send after the idempotency check. */
static enum hb_status
send_check(const struct hb_partition *p, const struct hb_frame *frame,
	const struct send_parameters *s, const struct hb_input *input, struct hb_token_use *use,
	uint64_t *order_stamp)
{
	const struct hb_account *sender = hb_account_find(p, s->sender);
	enum hb_status status;

	status = hbi_node_check(input, HB_STORAGE_NO_PACKETS);
	if (status != HB_STATUS_OK)
		return status;
	if (input->degrade_level >= HB_DEGRADE_NO_NEW_PACKETS)
		return HB_STATUS_DEGRADED;
	if (!send_within_limits(s, input->config))
		return HB_STATUS_LIMIT;
	status = hbi_token_check(p, frame, input, use);
	if (status != HB_STATUS_OK)
		return status;
	status = hbi_debit_check(sender, s->total_fen);
	if (status != HB_STATUS_OK)
		return status;
	if (!send_has_room(p, s))
		return HB_STATUS_TABLE_FULL;
	*order_stamp = hbi_stamp_next(p, input);
	return *order_stamp == 0 ? HB_STATUS_BUSY : HB_STATUS_OK;
}

void
hbi_decide_packet_create(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision)
{
	const struct hb_frame_packet_create *f = (const void *)frame;
	const struct hb_idempotency_entry *done;
	struct send_parameters s;
	struct hb_idempotency keep;
	struct hb_token_use use;
	struct hb_reply *reply;
	uint64_t order_stamp = 0;
	enum hb_status status;

	if (frame->user != frame->target) {
		hbi_reply(decision, frame, HB_STATUS_FRAME_INVALID);
		return;
	}
	send_parameters_fill(&s, f);
	status = hbi_idempotency_check(
		p, frame, f->idempotency_key, &s, sizeof(s), input, &keep, &done);
	if (status == HB_STATUS_OK && done != NULL) {
		send_repeat(p, frame, done, s.total_fen, decision);
		return;
	}
	if (status == HB_STATUS_OK)
		status = send_check(p, frame, &s, input, &use, &order_stamp);
	reply = hbi_reply(decision, frame, status);
	if (status != HB_STATUS_OK)
		return;
	send_record(p, &s, order_stamp, &use, &keep, input, decision);
	reply->id = ((const struct hb_record_packet_create *)(void *)decision->records)->packet;
	reply->order_stamp = order_stamp;
	reply->amount_fen = s.total_fen;
}

static bool
may_grab(const struct hb_packet *packet, const struct hb_frame *frame)
{
	if (packet->kind == HB_PACKET_NORMAL)
		return frame->user == packet->recipient;
	return frame->group == packet->group;
}

static void
expire_record(const struct hb_partition *p, const struct hb_packet *packet, uint64_t order_stamp,
	const struct hb_input *input, struct hb_decision *decision)
{
	struct hb_record_packet_expire *r = hbi_record_begin(p, input, decision, sizeof(*r));

	r->packet = packet->id;
	r->refund_fen = packet->left_fen;
	r->order_stamp = order_stamp;
	hbi_record_end(decision, r, HB_RECORD_PACKET_EXPIRE, sizeof(*r));
}

/* Close the packet if it is open and due. @return OK with a record, or why there is none */
static enum hb_status
expire(const struct hb_partition *p, const struct hb_packet *packet, const struct hb_input *input,
	struct hb_decision *decision)
{
	uint64_t order_stamp;

	if (packet->state != HB_PACKET_OPEN)
		return HB_STATUS_SOLD_OUT;
	if (input->clock_stopped)
		return HB_STATUS_CLOCK_STOPPED;
	if (hbi_now_ms(p, input) < packet->deadline_ms)
		return HB_STATUS_NOT_DUE;
	order_stamp = hbi_stamp_next(p, input);
	if (order_stamp == 0)
		return HB_STATUS_BUSY;
	expire_record(p, packet, order_stamp, input, decision);
	return HB_STATUS_OK;
}

/* The checks behind the claim look-up, in their order. A due packet is closed on the way. */
static enum hb_status
grab_check(const struct hb_partition *p, const struct hb_packet *packet,
	const struct hb_frame *frame, const struct hb_input *input, struct hb_token_use *use,
	struct hb_decision *decision)
{
	enum hb_status status;

	if (!may_grab(packet, frame))
		return HB_STATUS_NOT_MEMBER;
	if (packet->state == HB_PACKET_REFUNDED)
		return HB_STATUS_EXPIRED;
	if (packet->state == HB_PACKET_SOLD_OUT)
		return hbi_now_ms(p, input) >= packet->deadline_ms ? HB_STATUS_EXPIRED
								   : HB_STATUS_SOLD_OUT;
	status = hbi_node_check(input, HB_STORAGE_NO_GRABS);
	if (status != HB_STATUS_OK)
		return status;
	if (hbi_now_ms(p, input) >= packet->deadline_ms) {
		status = expire(p, packet, input, decision);
		return status == HB_STATUS_OK ? HB_STATUS_EXPIRED : status;
	}
	if (input->credits_reserve_low)
		return HB_STATUS_TABLE_FULL;
	return hbi_token_check(p, frame, input, use);
}

static void
grab_record(const struct hb_partition *p, const struct hb_packet *packet,
	const struct hb_claim *share, const struct hb_frame *frame, uint64_t order_stamp,
	const struct hb_token_use *use, const struct hb_input *input, struct hb_decision *decision)
{
	struct hb_record_grab *r = hbi_record_begin(p, input, decision, sizeof(*r));
	/* share_index and left_count, stored as the one word that its checksum loads */
	uint64_t share_and_left =
		(packet->count - packet->left_count) | (uint64_t)(packet->left_count - 1) << 32;

	r->packet = packet->id;
	r->user = frame->user;
	r->amount_fen = share->amount_fen;
	r->left_fen = packet->left_fen - share->amount_fen;
	memcpy((uint8_t *)r + offsetof(struct hb_record_grab, share_index), &share_and_left,
		sizeof(share_and_left));
	r->order_stamp = order_stamp;
	r->token = *use;
	hbi_record_end(decision, r, HB_RECORD_GRAB, sizeof(*r));
}

void
hbi_decide_grab(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision)
{
	const struct hb_packet *packet = hbi_packet_find(p, frame->target);
	const struct hb_claim *claims, *claim;
	struct hb_token_use use;
	struct hb_reply *reply;
	uint64_t order_stamp;
	enum hb_status status;

	if (packet == NULL || !hb_is_user_account(frame->user)) {
		hbi_reply(decision, frame,
			packet == NULL ? hb_packet_absent(p, frame->target) : HB_STATUS_NOT_MEMBER);
		return;
	}
	claims = hbi_claims(p, packet);
	claim = hbi_claim_find(p, packet, frame->user);
	if (claim != NULL) {
		reply = hbi_reply(decision, frame, HB_STATUS_OK);
		reply->flags = HB_REPLY_ALREADY;
		reply->id = packet->id;
		reply->amount_fen = claim->amount_fen;
		reply->other_fen = packet->left_fen;
		reply->index = (uint32_t)(claim - claims);
		reply->count = packet->left_count;
		return;
	}
	status = grab_check(p, packet, frame, input, &use, decision);
	order_stamp = status == HB_STATUS_OK ? hbi_stamp_next(p, input) : 0;
	if (status == HB_STATUS_OK && order_stamp == 0)
		status = HB_STATUS_BUSY;
	reply = hbi_reply(decision, frame, status);
	reply->id = packet->id;
	if (status != HB_STATUS_OK)
		return;
	claim = &claims[packet->count - packet->left_count];
	grab_record(p, packet, claim, frame, order_stamp, &use, input, decision);
	reply->amount_fen = claim->amount_fen;
	reply->other_fen = packet->left_fen - claim->amount_fen;
	reply->index = packet->count - packet->left_count;
	reply->count = packet->left_count - 1;
	reply->order_stamp = order_stamp;
}

void
hb_decide_expire(const struct hb_partition *p, uint64_t packet_id, const struct hb_input *input,
	struct hb_decision *decision)
{
	const struct hb_packet *packet = hb_packet_find(p, packet_id);

	decision->record_count = 0;
	decision->record_bytes = 0;
	if (packet != NULL)
		(void)expire(p, packet, input, decision);
}

void
hbi_decide_expire_frame(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision)
{
	const struct hb_packet *packet = hb_packet_find(p, frame->target);
	struct hb_reply *reply;
	enum hb_status status;

	if (packet == NULL) {
		hbi_reply(decision, frame, hb_packet_absent(p, frame->target));
		return;
	}
	if (packet->state != HB_PACKET_OPEN) {
		reply = hbi_reply(decision, frame, HB_STATUS_OK);
		reply->flags = HB_REPLY_ALREADY;
		reply->amount_fen = packet->refunded_fen;
		reply->id = packet->id;
		return;
	}
	status = expire(p, packet, input, decision);
	reply = hbi_reply(decision, frame, status);
	reply->id = packet->id;
	reply->amount_fen = status == HB_STATUS_OK ? packet->left_fen : 0;
}

static uint32_t
luckiest_index(const struct hb_partition *p, const struct hb_packet *packet)
{
	const struct hb_claim *claims = hb_packet_claims(p, packet);
	uint32_t taken = packet->count - packet->left_count;
	uint32_t best = 0;

	if (packet->state == HB_PACKET_OPEN || packet->count == 1 || taken == 0)
		return UINT32_MAX;
	for (uint32_t i = 1; i < taken; i++)
		if (claims[i].amount_fen > claims[best].amount_fen)
			best = i;
	return best;
}

static void
detail_claims(const struct hb_partition *p, const struct hb_packet *packet, uint32_t first,
	struct hb_reply_detail *detail)
{
	const struct hb_claim *claims = hb_packet_claims(p, packet);
	uint32_t taken = packet->count - packet->left_count;
	uint32_t n = first < taken ? taken - first : 0;

	if (n > HB_DETAIL_CLAIMS_MAX) {
		n = HB_DETAIL_CLAIMS_MAX;
		detail->head.flags |= HB_REPLY_MORE;
	}
	hbi_reply_extend(&detail->head, sizeof(*detail) + n * sizeof(detail->claims[0]));
	for (uint32_t i = 0; i < n; i++) {
		detail->claims[i].user = claims[first + i].user;
		detail->claims[i].amount_fen = claims[first + i].amount_fen;
		detail->claims[i].time_ms = packet->created_ms + claims[first + i].offset_ms;
	}
	detail->head.index = first;
	detail->head.count = n;
}

static bool
may_look(const struct hb_partition *p, const struct hb_packet *packet, const struct hb_frame *frame,
	const struct hb_input *input)
{
	return input->trusted || frame->user == packet->sender || may_grab(packet, frame) ||
	       hb_claim_find(p, packet, frame->user) != NULL;
}

void
hbi_decide_detail(const struct hb_partition *p, const struct hb_frame *frame,
	const struct hb_input *input, struct hb_decision *decision)
{
	const struct hb_packet *packet = hb_packet_find(p, frame->target);
	struct hb_reply_detail *d;

	if (packet == NULL || !may_look(p, packet, frame, input)) {
		hbi_reply(decision, frame,
			packet == NULL ? hb_packet_absent(p, frame->target) : HB_STATUS_NOT_MEMBER);
		return;
	}
	d = (void *)hbi_reply(decision, frame, HB_STATUS_OK);
	detail_claims(
		p, packet, ((const struct hb_frame_detail *)(const void *)frame)->claim_first, d);
	d->head.id = packet->id;
	d->head.order_stamp = packet->order_stamp;
	d->head.amount_fen = packet->share_min_fen;
	d->head.other_fen = packet->share_max_fen;
	d->sender = packet->sender;
	d->group = packet->group;
	d->recipient = packet->recipient;
	d->total_fen = packet->total_fen;
	d->left_fen = packet->left_fen;
	d->refunded_fen = packet->refunded_fen;
	d->created_ms = packet->created_ms;
	d->deadline_ms = packet->deadline_ms;
	d->share_count = packet->count;
	d->taken_count = packet->count - packet->left_count;
	d->luckiest_index = luckiest_index(p, packet);
	d->state = packet->state;
	d->kind = packet->kind;
	d->algorithm = packet->algorithm;
	d->greeting_length = packet->greeting_length;
	hb_split_commitment(d->commitment, packet->id, packet->seed, packet->total_fen,
		packet->count, packet->share_min_fen, packet->share_max_fen, packet->algorithm);
	if (packet->state != HB_PACKET_OPEN)
		memcpy(d->seed, packet->seed, sizeof(d->seed));
	memcpy(d->greeting, hb_packet_greeting(p, packet), packet->greeting_length);
}
