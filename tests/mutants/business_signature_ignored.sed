# SPDX-License-Identifier: Apache-2.0
# Any signature of a business system passes.
# source: controlplane/signature.c
# caught by: unit:control signature
s/if (CRYPTO_memcmp(expected, request->signature, HB_SIGNATURE_HEX_LENGTH) != 0)/if (request->signature == NULL)/
