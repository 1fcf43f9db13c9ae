# SPDX-License-Identifier: Apache-2.0
# An expired user token passes.
# source: front/jwt.c
# caught by: unit:front jwt
s/if (now_s >= identity->expires_s)/if (now_s < 0)/
s/if (found != NULL \&\& now_s < (\*found)->identity.expires_s) {/if (found != NULL) {/
