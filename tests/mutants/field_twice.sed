# SPDX-License-Identifier: Apache-2.0
# A field that is there twice in a body counts once.
# source: front/gateway.c
# caught by: unit:front gateway
s/if (field == FIELDS || has(values, field) ||/if (field == FIELDS ||/
