# SPDX-License-Identifier: Apache-2.0
# Who asked for an adjustment may approve it as far as control minds.
# source: controlplane/case_commands.c
# caught by: unit:control case_commands
s/if (c.asker.uid == by.checker.uid) {/if (false) {/
