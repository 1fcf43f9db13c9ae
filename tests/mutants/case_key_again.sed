# SPDX-License-Identifier: Apache-2.0
# The key of an operator's command is not looked for: the same command is done again.
# source: controlplane/cases.c
# caught by: unit:control cases
s/if (strcmp(c->key, key) == 0 \&\& /if (false \&\& /
