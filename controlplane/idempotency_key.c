/* SPDX-License-Identifier: Apache-2.0 */
/* Derives engine keys from Idempotency-Key headers (idempotency_key.h). Pure. */
#include "controlplane/idempotency_key.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/assert.h"
#include "controlplane/business_keys.h"

bool
hb_idempotency_text_valid(const char *text)
{
	size_t length = strlen(text);

	if (length < 1 || length > HB_IDEMPOTENCY_TEXT_MAX)
		return false;
	for (const char *c = text; *c; c++) {
		if (*c < '!' || *c > '~')
			return false;
	}
	return true;
}

int
hb_idempotency_key(uint8_t key[16], const char *key_id, const char *text, uint32_t item)
{
	char message[HB_BUSINESS_KEY_ID_MAX + 1 + HB_IDEMPOTENCY_TEXT_MAX + 1 + 11];
	uint8_t digest[32];
	size_t id_length = strlen(key_id);
	size_t text_length = strlen(text);
	size_t used;

	HB_ASSERT(id_length <= HB_BUSINESS_KEY_ID_MAX && text_length <= HB_IDEMPOTENCY_TEXT_MAX);
	memcpy(message, key_id, id_length + 1);
	used = id_length + 1;
	memcpy(message + used, text, text_length + 1);
	used += text_length + 1;
	used += (size_t)snprintf(message + used, sizeof(message) - used, "%u", item);
	if (!EVP_Digest(message, used, digest, NULL, EVP_sha256(), NULL))
		return -EIO;
	memcpy(key, digest, 16);
	return 0;
}
