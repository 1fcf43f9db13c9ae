# SPDX-License-Identifier: Apache-2.0
# The group is taken without the user token vouching for it.
# source: front/gateway.c
# caught by: unit:front gateway
s/return hb_identity_in_group(identity, group) ? group : 0;/return group;/
