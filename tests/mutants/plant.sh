#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# plant.sh SCRIPT SOURCE OUTPUT: the source with a planted mistake. Fails when the script no longer
# finds its place, so that a mutant cannot become harmless by itself.
set -eu
sed -f "$1" "$2" >"$3"
if cmp -s "$2" "$3"; then
    echo "plant.sh: $1 changes nothing in $2" >&2
    exit 1
fi
