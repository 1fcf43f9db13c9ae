/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of business systems and operators: JSON, read by the fields of a command into a frame.
 * The first byte chooses the command and whether the item stands alone or in a list. What is
 * refused names a field; what is taken passes the engine's check. One choice is no command: every
 * kind of field that commands may have is asked for.
 *
 * Parsers: controlplane/command_list.c without with_order *_answer *_then token_operation_name
 * hb_token_json, controlplane/json_fields.c
 */
#include <stdio.h>
#include <string.h>

#include "controlplane/commands.h"
#include "shm/ids.h"
#include "tests/fuzz/fuzz.h"

#define ITEM_OF_LIST 0x80 /* bits of the first byte */
#define ANY_FIELDS   0x40

static const struct hb_command *const commands[] = {&hb_command_account_open, &hb_command_credit,
	&hb_command_packet_create, &hb_command_token_issue};

/* Texts that come with the path or the query of a request. */
static void
read_texts(const char *text)
{
	char plain[64];
	uint64_t value;

	if (hb_packet_id_parse(text, &value))
		HB_ASSERT(!hb_hold_id_parse(text, &value));
	if (hb_account_parse(text, &value))
		HB_ASSERT(hb_decimal_parse(text, UINT64_MAX, &value));
	snprintf(plain, sizeof(plain), "%s", text);
	hb_text_plain(plain);
	for (const char *c = plain; *c != '\0'; c++)
		HB_ASSERT(*c >= ' ' && *c <= '~');
}

static void
read_fields(const json_t *object, int item)
{
	static const struct hb_choice choices[] = {{"one", 1}, {"two", 2}, {NULL, 0}};
	struct hb_fields fields;
	const char *text;
	size_t length;
	int64_t number = 0;
	uint64_t id = 0;
	uint32_t chosen = 0;

	hb_fields_begin(&fields, object, item);
	if (hb_field_text_optional(&fields, "text", 16, &text, &length)) {
		HB_ASSERT(length <= 16);
		read_texts(text);
	}
	(void)hb_field_choice_optional(&fields, "choice", choices, &chosen);
	if (hb_field_present(&fields, "hold") && hb_field_hold(&fields, "hold", &id))
		HB_ASSERT(hb_id_kind(id) == HB_ID_HOLD);
	if (hb_field_present(&fields, "packet") && hb_field_packet(&fields, "packet", &id))
		HB_ASSERT(hb_id_kind(id) == HB_ID_PACKET);
	if (hb_field_present(&fields, "number") &&
		hb_field_integer(&fields, "number", -5, 1000, &number))
		HB_ASSERT(number >= -5 && number <= 1000);
	if (!hb_fields_end(&fields))
		HB_ASSERT(fields.error[0] != '\0');
}

static void
read_item(const struct hb_command *command, const json_t *object, int item)
{
	struct hb_fields fields;
	union hb_any_frame frame;

	memset(&frame, 0, sizeof(frame));
	hb_fields_begin(&fields, object, item);
	command->read(&fields, &frame);
	if (!hb_fields_end(&fields)) {
		HB_ASSERT(fields.error[0] != '\0');
		return;
	}
	frame.head.version = HB_FRAME_VERSION; /* the engine client sets it */
	HB_ASSERT(hb_frame_check(&frame.head, frame.head.length) == HB_STATUS_OK);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct hb_fuzz_input input = {bytes, length};
	char error[HB_FIELDS_ERROR_BYTES] = "";
	uint8_t which = hb_fuzz_byte(&input);
	json_t *document = hb_json_parse((const char *)input.at, input.left, error);
	int item;

	if (document == NULL) {
		HB_ASSERT(error[0] != '\0');
		return 0;
	}
	item = (which & ITEM_OF_LIST) != 0 ? 3 : -1;
	if ((which & ANY_FIELDS) != 0)
		read_fields(document, item);
	else
		read_item(
			commands[which % (sizeof(commands) / sizeof(commands[0]))], document, item);
	json_decref(document);
	return 0;
}
