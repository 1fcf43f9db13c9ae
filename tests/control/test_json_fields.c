/* SPDX-License-Identifier: Apache-2.0 */
/* Requests are read strictly: what is not named is refused, every refusal names its field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "controlplane/json_fields.h"
#include "shm/ids.h"

static const struct hb_choice kinds[] = {{"lucky", 2}, {"normal", 1}, {NULL, 0}};

/* What reading {account, amount_fen, kind} from a text finds wrong, "" when nothing. */
static const char *
wrong_with(const char *text, int item)
{
	static char error[HB_FIELDS_ERROR_BYTES];
	struct hb_fields fields;
	uint64_t account = 0;
	int64_t amount_fen = 0;
	uint32_t kind = 0;
	json_t *document = hb_json_parse(text, strlen(text), error);

	if (!document)
		return error;
	hb_fields_begin(&fields, document, item);
	hb_field_account(&fields, "account", &account);
	hb_field_integer(&fields, "amount_fen", 1, 1000, &amount_fen);
	hb_field_choice_optional(&fields, "kind", kinds, &kind);
	hb_fields_end(&fields);
	memcpy(error, fields.error, sizeof(error));
	json_decref(document);
	return error;
}

static void
a_right_request_is_read(void **state)
{
	(void)state;
	assert_string_equal(wrong_with("{\"account\":7,\"amount_fen\":1000}", -1), "");
	assert_string_equal(
		wrong_with(
			"{\"amount_fen\":1,\"kind\":\"lucky\",\"account\":4503599627370495}", -1),
		"");
}

static void
every_refusal_names_its_field(void **state)
{
	static const char *const cases[][2] = {
		{"{\"account\":7}", "amount_fen: is required"},
		{"{\"account\":0,\"amount_fen\":1}", "account: must be in 1..4503599627370495"},
		{"{\"account\":-1,\"amount_fen\":1}", "account: must be in 1..4503599627370495"},
		{"{\"account\":4503599627370496,\"amount_fen\":1}",
			"account: must be in 1..4503599627370495"},
		{"{\"account\":7,\"amount_fen\":1.0}", "amount_fen: must be a whole number"},
		{"{\"account\":7,\"amount_fen\":1e2}", "amount_fen: must be a whole number"},
		{"{\"account\":7,\"amount_fen\":\"1\"}", "amount_fen: must be a whole number"},
		{"{\"account\":7,\"amount_fen\":null}", "amount_fen: must be a whole number"},
		{"{\"account\":7,\"amount_fen\":true}", "amount_fen: must be a whole number"},
		{"{\"account\":7,\"amount_fen\":0}", "amount_fen: must be in 1..1000"},
		{"{\"account\":7,\"amount_fen\":1001}", "amount_fen: must be in 1..1000"},
		{"{\"account\":7,\"amount_fen\":99999999999999999999}",
			"amount_fen: the number does not fit into 64 bits"},
		{"{\"account\":7,\"amount_fen\":-99999999999999999999}",
			"amount_fen: the number does not fit into 64 bits"},
		{"{\"account\":7,\"amount_fen\":1,\"kind\":\"odd\"}",
			"kind: must be one of: lucky, normal"},
		{"{\"account\":7,\"amount_fen\":1,\"kind\":2}",
			"kind: must be one of: lucky, normal"},
		{"{\"account\":7,\"amount_fen\":1,\"ammount\":1}",
			"ammount: is not a field of this request"},
		{"[1]", "the body must be a JSON object"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(wrong_with(cases[i][0], -1), cases[i][1]);
}

static void
an_item_is_named_by_its_index(void **state)
{
	(void)state;
	assert_string_equal(wrong_with("{\"account\":7}", 3), "items[3].amount_fen: is required");
	assert_string_equal(wrong_with("[5]", 12), "items[12] must be a JSON object");
}

static void
broken_documents_are_refused(void **state)
{
	static const char *const texts[] = {"", "{", "{}{}", "{\"a\":1,}", "{\"a\":01}", "nonsense",
		"{\"account\":1,\"account\":2,\"amount_fen\":1}", "{\"a\":\"\xff\"}", "{'a':1}"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char error[HB_FIELDS_ERROR_BYTES] = "";
		json_t *document = hb_json_parse(texts[i], strlen(texts[i]), error);

		assert_null(document);
		assert_true(strlen(error) > 0);
	}
}

static void
a_duplicate_field_is_named(void **state)
{
	char error[HB_FIELDS_ERROR_BYTES];
	const char *text = "{\"amount_fen\":1,\"amount_fen\":2}";

	(void)state;
	assert_null(hb_json_parse(text, strlen(text), error));
	assert_non_null(strstr(error, "amount_fen"));
}

static void
a_deep_document_is_refused_without_harm(void **state)
{
	char error[HB_FIELDS_ERROR_BYTES];
	char text[60000];

	(void)state;
	memset(text, '[', sizeof(text));
	assert_null(hb_json_parse(text, sizeof(text), error));
}

static void
a_greeting_has_a_limit_in_bytes(void **state)
{
	struct hb_fields fields;
	const char *text;
	size_t length;
	json_t *document = json_pack("{s:s,s:i}", "short", "\xe6\x81\xad\xe5\x96\x9c", "number", 1);

	(void)state;
	hb_fields_begin(&fields, document, -1);
	assert_true(hb_field_text_optional(&fields, "short", 6, &text, &length));
	assert_int_equal(length, 6);
	assert_true(hb_field_text_optional(&fields, "absent", 6, &text, &length));
	assert_int_equal(length, 0);
	assert_false(hb_field_text_optional(&fields, "number", 6, &text, &length));
	hb_fields_begin(&fields, document, -1);
	assert_false(hb_field_text_optional(&fields, "short", 5, &text, &length));
	json_decref(document);
}

static void
packet_ids_are_sixteen_lower_case_digits(void **state)
{
	uint64_t id;

	(void)state;
	assert_true(hb_packet_id_parse("0130200000000001", &id));
	assert_int_equal(id, 0x0130200000000001);
	assert_false(hb_packet_id_parse("0130200000000A01", &id));
	assert_false(hb_packet_id_parse("013020000000001", &id));
	assert_false(hb_packet_id_parse("01302000000000011", &id));
	assert_false(hb_packet_id_parse("0000000000000001", &id));
	assert_false(hb_packet_id_parse("", &id));
}

static void
decimal_numbers_have_one_spelling(void **state)
{
	uint64_t value;

	(void)state;
	assert_true(hb_decimal_parse("0", 10, &value));
	assert_true(hb_decimal_parse("18446744073709551615", UINT64_MAX, &value));
	assert_true(value == UINT64_MAX);
	assert_false(hb_decimal_parse("18446744073709551616", UINT64_MAX, &value));
	assert_false(hb_decimal_parse("11", 10, &value));
	assert_false(hb_decimal_parse("01", 10, &value));
	assert_false(hb_decimal_parse("+1", 10, &value));
	assert_false(hb_decimal_parse("-1", 10, &value));
	assert_false(hb_decimal_parse(" 1", 10, &value));
	assert_false(hb_decimal_parse("", 10, &value));
	assert_false(hb_account_parse("0", &value));
	assert_true(hb_account_parse("4503599627370495", &value));
	assert_false(hb_account_parse("4503599627370496", &value));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_right_request_is_read),
		cmocka_unit_test(every_refusal_names_its_field),
		cmocka_unit_test(an_item_is_named_by_its_index),
		cmocka_unit_test(broken_documents_are_refused),
		cmocka_unit_test(a_duplicate_field_is_named),
		cmocka_unit_test(a_deep_document_is_refused_without_harm),
		cmocka_unit_test(a_greeting_has_a_limit_in_bytes),
		cmocka_unit_test(packet_ids_are_sixteen_lower_case_digits),
		cmocka_unit_test(decimal_numbers_have_one_spelling),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
