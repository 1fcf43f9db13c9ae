#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# keeper.sh CONFIG: starts single processes of a node that ./hongbao up has made, as an init system
# would: a line "NAME [VARIABLE=VALUE]..." on standard input starts NAME and does not wait until it
# is ready; "started" is the answer. Ends with its standard input. tests/e2e/keeper.py is its user.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
for part in common setup build config mysql process up; do
    # shellcheck source=/dev/null
    . "$ROOT/tools/launcher/$part.sh"
done

choose_node --config "$1"
read_config "$NODE/etc/hongbao.conf"
GROUP_ID=$(getent group "$GROUP" | cut -d: -f3)
while read -r name variables; do
    (
        for variable in $variables; do
            export "${variable?}"
        done
        launch_process "$name"
    ) >&2 || printf 'keeper.sh: %s was not started\n' "$name" >&2
    printf 'started\n'
done
