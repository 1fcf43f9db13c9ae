/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of business systems and operators: JSON, read by the fields of a command into a frame.
 * The first byte chooses the command. What is refused names a field; what is taken passes the
 * engine's check.
 *
 * Parsers: controlplane/commands.c controlplane/json_fields.c
 */
#include <string.h>

#include "controlplane/commands.h"
#include "tests/fuzz/fuzz.h"

static const struct hb_command *const commands[] = {&hb_command_account_open, &hb_command_credit,
	&hb_command_packet_create, &hb_command_token_issue};

static void
read_item(const struct hb_command *command, const json_t *object)
{
	struct hb_fields fields;
	union hb_any_frame frame;

	memset(&frame, 0, sizeof(frame));
	hb_fields_begin(&fields, object, -1);
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

	if (document == NULL) {
		HB_ASSERT(error[0] != '\0');
		return 0;
	}
	if (json_is_object(document))
		read_item(commands[which % (sizeof(commands) / sizeof(commands[0]))], document);
	json_decref(document);
	return 0;
}
