/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * User tokens: which are believed, which are refused and why, and what the cache does.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "front/jwt.h"
#include "jwt_maker.h"

#define NOW_S	    INT64_C(1700000000)
#define MUTATIONS   20000
#define GOOD_HEADER "{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"old\"}"
#define GOOD_CLAIMS "{\"sub\":\"1001\",\"exp\":1700000060,\"groups\":[7,8]}"

static const uint8_t old_secret[32] = "the first secret, 32 bytes long";
static const uint8_t new_secret[32] = "another secret, also 32 bytes..";

static struct hb_jwt_keys keys;
static EVP_PKEY *pair;
static struct hb_jwt *jwt;
static const char *why;

static struct hb_jwt_key *
add_key(const char *kid, enum hb_jwt_algorithm algorithm)
{
	struct hb_jwt_key *key = &keys.key[keys.count++];

	snprintf(key->kid, sizeof(key->kid), "%s", kid);
	key->algorithm = algorithm;
	return key;
}

static int
set_up(void **state)
{
	struct hb_jwt_key *key;
	uint8_t public_key[32];
	size_t bytes = sizeof(public_key);

	(void)state;
	key = add_key("old", HB_JWT_HS256);
	key->secret_bytes = sizeof(old_secret);
	memcpy(key->secret, old_secret, sizeof(old_secret));
	key = add_key("new", HB_JWT_HS256);
	key->secret_bytes = sizeof(new_secret);
	memcpy(key->secret, new_secret, sizeof(new_secret));
	pair = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	assert_int_equal(EVP_PKEY_get_raw_public_key(pair, public_key, &bytes), 1);
	key = add_key("curve", HB_JWT_EDDSA);
	key->public_key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, bytes);
	/* A confused verifier would take the public key for a secret. */
	key->secret_bytes = 32;
	memcpy(key->secret, public_key, 32);
	return hb_jwt_open(&jwt, &keys);
}

static int
tear_down(void **state)
{
	(void)state;
	hb_jwt_close(jwt);
	hb_jwt_keys_clear(&keys);
	EVP_PKEY_free(pair);
	return 0;
}

static const struct hb_identity *
verify_at(const char *token, int64_t now_s)
{
	why = NULL;
	return hb_jwt_verify(jwt, token, strlen(token), now_s, &why);
}

static const struct hb_identity *
verify(const char *token)
{
	return verify_at(token, NOW_S);
}

static const struct hb_identity *
verify_signed(const char *header, const char *claims)
{
	char token[JWT_TEXT_MAX];

	jwt_make_hs256(token, header, claims, old_secret, sizeof(old_secret));
	return verify(token);
}

static void
a_good_token_says_account_and_groups(void **state)
{
	const struct hb_identity *identity = verify_signed(GOOD_HEADER, GOOD_CLAIMS);

	(void)state;
	assert_non_null(identity);
	assert_int_equal(identity->account, 1001);
	assert_int_equal(identity->expires_s, 1700000060);
	assert_int_equal(identity->group_count, 2);
	assert_true(hb_identity_in_group(identity, 7));
	assert_true(hb_identity_in_group(identity, 8));
	assert_false(hb_identity_in_group(identity, 9));
	assert_false(hb_identity_in_group(identity, 0));
}

static void
several_keys_are_live_at_once(void **state)
{
	char token[JWT_TEXT_MAX];

	(void)state;
	jwt_make_hs256(token, "{\"alg\":\"HS256\",\"kid\":\"new\"}", GOOD_CLAIMS, new_secret,
		sizeof(new_secret));
	assert_non_null(verify(token));
	jwt_make_hs256(token, "{\"alg\":\"HS256\",\"kid\":\"old\"}", GOOD_CLAIMS, old_secret,
		sizeof(old_secret));
	assert_non_null(verify(token));
	jwt_make_eddsa(token, "{\"alg\":\"EdDSA\",\"kid\":\"curve\"}", GOOD_CLAIMS, pair);
	assert_non_null(verify(token));
}

static void
a_signature_by_another_key_than_the_named_one_is_refused(void **state)
{
	char token[JWT_TEXT_MAX];

	(void)state;
	jwt_make_hs256(token, "{\"alg\":\"HS256\",\"kid\":\"new\"}", GOOD_CLAIMS, old_secret,
		sizeof(old_secret));
	assert_null(verify(token));
	assert_string_equal(why, "the token's signature is wrong");
}

static void
the_key_decides_the_algorithm_not_the_header(void **state)
{
	const struct hb_jwt_key *curve = hb_jwt_keys_find(&keys, "curve", 5);
	char token[JWT_TEXT_MAX];

	(void)state;
	/* HMAC with the public key as the secret */
	jwt_make_hs256(
		token, "{\"alg\":\"HS256\",\"kid\":\"curve\"}", GOOD_CLAIMS, curve->secret, 32);
	assert_null(verify(token));
	assert_string_equal(why, "the token's alg is not that of its key");
	jwt_make_hs256(
		token, "{\"alg\":\"EdDSA\",\"kid\":\"curve\"}", GOOD_CLAIMS, curve->secret, 32);
	assert_null(verify(token));
	jwt_make_eddsa(token, "{\"alg\":\"EdDSA\",\"kid\":\"old\"}", GOOD_CLAIMS, pair);
	assert_null(verify(token));
}

static void
headers_that_are_not_ours_are_refused(void **state)
{
	static const char *const headers[] = {
		"{\"alg\":\"none\",\"kid\":\"old\"}",
		"{\"alg\":\"None\",\"kid\":\"old\"}",
		"{\"alg\":\"hs256\",\"kid\":\"old\"}",
		"{\"alg\":\"HS384\",\"kid\":\"old\"}",
		"{\"alg\":\"HS512\",\"kid\":\"old\"}",
		"{\"alg\":\"RS256\",\"kid\":\"old\"}",
		"{\"alg\":null,\"kid\":\"old\"}",
		"{\"alg\":[\"HS256\"],\"kid\":\"old\"}",
		"{\"kid\":\"old\"}",
		"{\"alg\":\"HS256\"}",
		"{\"alg\":\"HS256\",\"kid\":\"nobody\"}",
		"{\"alg\":\"HS256\",\"kid\":\"\"}",
		"{\"alg\":\"HS256\",\"kid\":7}",
		"{\"alg\":\"HS256\",\"kid\":\"old\",\"crit\":[\"exp\"]}",
		"{\"alg\":\"none\",\"alg\":\"HS256\",\"kid\":\"old\"}",
		"{\"alg\":\"HS256\",\"kid\":\"new\",\"kid\":\"old\"}",
		"[\"HS256\",\"old\"]",
		"\"HS256\"",
		"",
		"{",
		"{\"alg\":\"HS256\",\"kid\":\"old\"}x",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
		if (verify_signed(headers[i], GOOD_CLAIMS) != NULL)
			fail_msg("believed the header %s", headers[i]);
}

static void
claims_that_are_not_ours_are_refused(void **state)
{
	static const char *const claims[] = {
		"{\"exp\":1700000060}",
		"{\"sub\":1001,\"exp\":1700000060}",
		"{\"sub\":\"\",\"exp\":1700000060}",
		"{\"sub\":\"0\",\"exp\":1700000060}",
		"{\"sub\":\"01001\",\"exp\":1700000060}",
		"{\"sub\":\"-5\",\"exp\":1700000060}",
		"{\"sub\":\" 5\",\"exp\":1700000060}",
		"{\"sub\":\"1e3\",\"exp\":1700000060}",
		"{\"sub\":\"alice\",\"exp\":1700000060}",
		"{\"sub\":\"4503599627370496\",\"exp\":1700000060}",
		"{\"sub\":\"18446744073709552617\",\"exp\":1700000060}",
		"{\"sub\":\"1001\"}",
		"{\"sub\":\"1001\",\"exp\":\"1700000060\"}",
		"{\"sub\":\"1001\",\"exp\":1700000060.5}",
		"{\"sub\":\"1001\",\"exp\":17e8}",
		"{\"sub\":\"1001\",\"exp\":99999999999999999999}",
		"{\"sub\":\"1001\",\"exp\":-1}",
		"{\"sub\":\"1001\",\"exp\":1700000000}",
		"{\"sub\":\"1001\",\"exp\":1699999999}",
		"{\"sub\":\"1001\",\"exp\":1700000060,\"nbf\":1700000001}",
		"{\"sub\":\"1001\",\"exp\":1700000060,\"nbf\":\"1\"}",
		"{\"sub\":\"1001\",\"exp\":1700000060,\"groups\":7}",
		"{\"sub\":\"1001\",\"exp\":1700000060,\"groups\":[\"7\"]}",
		"{\"sub\":\"1001\",\"exp\":1700000060,\"groups\":[0]}",
		"{\"sub\":\"1001\",\"exp\":1700000060,\"groups\":[-7]}",
		"{\"sub\":\"1001\",\"exp\":1700000060,\"groups\":[7.0]}",
		"{\"sub\":\"1001\",\"exp\":1700000060,\"groups\":[9007199254740992]}",
		"{\"sub\":\"1001\",\"exp\":1700000060,\"ent\":\"5\"}",
		"{\"sub\":\"1001\",\"sub\":\"1002\",\"exp\":1700000060}",
		"{\"sub\":\"1001\",\"exp\":1,\"exp\":1700000060}",
		"[]",
		"null",
		"",
		"{\"sub\":\"1001\",\"exp\":1700000060",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++)
		if (verify_signed(GOOD_HEADER, claims[i]) != NULL)
			fail_msg("believed the claims %s", claims[i]);
}

static void
not_before_is_honoured_to_the_second(void **state)
{
	static const char claims[] = "{\"sub\":\"1001\",\"exp\":1700000060,\"nbf\":1700000010}";
	char token[JWT_TEXT_MAX];

	(void)state;
	jwt_make_hs256(token, GOOD_HEADER, claims, old_secret, sizeof(old_secret));
	assert_null(verify_at(token, 1700000009));
	assert_string_equal(why, "the token is not valid yet");
	assert_non_null(verify_at(token, 1700000010));
}

static void
at_most_64_groups_are_believed(void **state)
{
	char claims[2048], token[JWT_TEXT_MAX];

	(void)state;
	for (int count = 64; count <= 65; count++) {
		size_t length = (size_t)snprintf(claims, sizeof(claims),
			"{\"sub\":\"1001\",\"exp\":1700000060,\"groups\":[1");

		for (int i = 2; i <= count; i++)
			length += (size_t)snprintf(
				claims + length, sizeof(claims) - length, ",%d", i);
		snprintf(claims + length, sizeof(claims) - length, "]}");
		jwt_make_hs256(token, GOOD_HEADER, claims, old_secret, sizeof(old_secret));
		assert_int_equal(verify(token) != NULL, count == 64);
	}
}

static void
texts_that_are_no_token_are_refused(void **state)
{
	static const char *const texts[] = {"", ".", "..", "...", "a.b", "a.b.c", "a.b.c.d", " ",
		"eyJhbGciOiJIUzI1NiJ9", "eyJhbGciOiJIUzI1NiJ9..", "\xff\xfe.\x01.\x02"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (verify(texts[i]) != NULL)
			fail_msg("believed \"%s\"", texts[i]);
}

static void
base64_must_be_canonical(void **state)
{
	char token[JWT_TEXT_MAX], broken[JWT_TEXT_MAX + 8];
	size_t length;

	(void)state;
	jwt_make_hs256(token, GOOD_HEADER, GOOD_CLAIMS, old_secret, sizeof(old_secret));
	length = strlen(token);
	snprintf(broken, sizeof(broken), "%s=", token); /* padding */
	assert_null(verify(broken));
	snprintf(broken, sizeof(broken), "%s\n", token);
	assert_null(verify(broken));
	snprintf(broken, sizeof(broken), "%sA", token); /* a lone character */
	assert_null(verify(broken));
	/* 32 bytes leave two bits over: another last character that says the same bytes */
	memcpy(broken, token, length + 1);
	for (int c = '-'; c <= 'z'; c++) {
		broken[length - 1] = (char)c;
		if (broken[length - 1] != token[length - 1])
			assert_null(verify(broken));
	}
	assert_non_null(verify(token));
}

static void
huge_tokens_are_refused_before_any_work(void **state)
{
	char *huge = malloc(1 << 20);

	(void)state;
	memset(huge, 'A', 1 << 20);
	assert_null(hb_jwt_verify(jwt, huge, 1 << 20, NOW_S, &why));
	assert_string_equal(why, "the token is too long");
	huge[100] = huge[200] = '.';
	assert_null(hb_jwt_verify(jwt, huge, HB_JWT_BYTES_MAX, NOW_S, &why));
	free(huge);
}

static void
deep_json_is_refused_without_harm(void **state)
{
	char claims[2900];

	(void)state;
	memset(claims, '[', sizeof(claims) - 1);
	claims[sizeof(claims) - 1] = '\0';
	assert_null(verify_signed(GOOD_HEADER, claims));
}

static void
a_verified_token_is_cached_until_it_expires(void **state)
{
	uint64_t hits = hb_jwt_cache_hits(jwt);
	char token[JWT_TEXT_MAX];

	(void)state;
	jwt_make_hs256(token, GOOD_HEADER, "{\"sub\":\"77\",\"exp\":1700000060,\"groups\":[3]}",
		old_secret, sizeof(old_secret));
	assert_non_null(verify(token));
	assert_int_equal(hb_jwt_cache_hits(jwt), hits);
	assert_int_equal(verify_at(token, 1700000059)->account, 77);
	assert_true(hb_identity_in_group(verify(token), 3));
	assert_int_equal(hb_jwt_cache_hits(jwt), hits + 2);
	assert_null(verify_at(token, 1700000060));
	assert_string_equal(why, "the token has expired");
	assert_int_equal(hb_jwt_cache_hits(jwt), hits + 2);
}

static void
refused_tokens_are_not_cached(void **state)
{
	uint64_t hits = hb_jwt_cache_hits(jwt);
	char token[JWT_TEXT_MAX];

	(void)state;
	jwt_make_hs256(token, GOOD_HEADER, GOOD_CLAIMS, new_secret, sizeof(new_secret));
	assert_null(verify(token));
	assert_null(verify(token));
	assert_int_equal(hb_jwt_cache_hits(jwt), hits);
}

static void
a_token_too_long_for_the_cache_is_verified_each_time(void **state)
{
	uint64_t hits = hb_jwt_cache_hits(jwt);
	char claims[1024], token[JWT_TEXT_MAX];

	(void)state;
	snprintf(claims, sizeof(claims),
		"{\"sub\":\"1001\",\"exp\":1700000060,\"note\":\"%0600d\"}", 1);
	jwt_make_hs256(token, GOOD_HEADER, claims, old_secret, sizeof(old_secret));
	assert_non_null(verify(token));
	assert_non_null(verify(token));
	assert_int_equal(hb_jwt_cache_hits(jwt), hits);
}

/* More tokens than the cache has places: each is answered right, whether or not it is kept. */
static void
a_full_cache_makes_room_and_mixes_nobody_up(void **state)
{
	char claims[128], token[JWT_TEXT_MAX];

	(void)state;
	for (uint64_t account = 1; account <= HB_JWT_CACHE_ENTRIES + HB_JWT_CACHE_ENTRIES / 4;
		account++) {
		snprintf(claims, sizeof(claims), "{\"sub\":\"%llu\",\"exp\":1700000060}",
			(unsigned long long)account);
		jwt_make_hs256(token, GOOD_HEADER, claims, old_secret, sizeof(old_secret));
		assert_int_equal(verify(token)->account, account);
		assert_int_equal(verify(token)->account, account);
	}
}

static void
no_changed_character_is_believed(void **state)
{
	unsigned seed = 20261123;
	char token[JWT_TEXT_MAX], changed[JWT_TEXT_MAX];
	size_t length;

	(void)state;
	print_message("seed %u\n", seed);
	srandom(seed);
	jwt_make_hs256(token, GOOD_HEADER, GOOD_CLAIMS, old_secret, sizeof(old_secret));
	length = strlen(token);
	for (int i = 0; i < MUTATIONS; i++) {
		size_t at = (size_t)random() % length;

		memcpy(changed, token, length + 1);
		changed[at] = (char)random();
		if (changed[at] == token[at])
			continue;
		assert_null(hb_jwt_verify(jwt, changed, length, NOW_S, &why));
		assert_null(hb_jwt_verify(jwt, token, at, NOW_S, &why)); /* cut off */
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_token_says_account_and_groups),
		cmocka_unit_test(several_keys_are_live_at_once),
		cmocka_unit_test(a_signature_by_another_key_than_the_named_one_is_refused),
		cmocka_unit_test(the_key_decides_the_algorithm_not_the_header),
		cmocka_unit_test(headers_that_are_not_ours_are_refused),
		cmocka_unit_test(claims_that_are_not_ours_are_refused),
		cmocka_unit_test(not_before_is_honoured_to_the_second),
		cmocka_unit_test(at_most_64_groups_are_believed),
		cmocka_unit_test(texts_that_are_no_token_are_refused),
		cmocka_unit_test(base64_must_be_canonical),
		cmocka_unit_test(huge_tokens_are_refused_before_any_work),
		cmocka_unit_test(deep_json_is_refused_without_harm),
		cmocka_unit_test(a_verified_token_is_cached_until_it_expires),
		cmocka_unit_test(refused_tokens_are_not_cached),
		cmocka_unit_test(a_token_too_long_for_the_cache_is_verified_each_time),
		cmocka_unit_test(a_full_cache_makes_room_and_mixes_nobody_up),
		cmocka_unit_test(no_changed_character_is_believed),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
