#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Build the nginx modules, one shared object, against the packaged nginx (Debian: nginx, nginx-dev).
#
#   front/build.sh BUILD_DIR   ->   BUILD_DIR/ngx_hb_module.so
#
# nginx-dev brings headers, configure and the flags nginx was built with, but no
# sources of the core; so only the module is made. Everything is written below
# BUILD_DIR; a second call compiles only what changed.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: front/build.sh BUILD_DIR" >&2; exit 2; }

front=$(cd "$(dirname "$0")" && pwd)
nginx_src=/usr/share/nginx/src
module=ngx_hb_module.so

[ -r "$nginx_src/conf_flags" ] || {
    echo "front/build.sh: $nginx_src/conf_flags is missing: install nginx-dev" >&2
    exit 1
}
mkdir -p "$1"
build=$(cd "$1" && pwd)
work=$build/nginx-module
mkdir -p "$work"
cd "$work"

# Two builds in one directory would trip over each other.
exec 9>lock
flock 9

configured() {
    [ -f objs/Makefile ] || return 1
    local input
    for input in "$front/config" "$front/build.sh" "$nginx_src/conf_flags" \
        "$nginx_src/src/core/nginx.h"; do
        [ "$input" -ot objs/Makefile ] || return 1
    done
}

if ! configured; then
    rm -rf objs
    for part in auto src configure; do
        ln -sfn "$nginx_src/$part" "$part"
    done
    # configure splits names at spaces; a relative name through this link has none.
    ln -sfn "${front%/front}" source
    # The flags of the packaged nginx, so that the binary signature is the same.
    . "$nginx_src/conf_flags"
    ./configure "${NGX_CONF_FLAGS[@]}" --with-stream=dynamic \
        --with-cc-opt="${HB_MODULE_COVERAGE:+--coverage -fprofile-update=atomic }-O2 -g -fPIC -D_GNU_SOURCE -fno-strict-aliasing \
-fstack-protector-strong -fstack-clash-protection -fcf-protection \
-Wshadow -Wformat=2 -Wno-format-nonliteral -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2" \
        --with-ld-opt="${HB_MODULE_COVERAGE:+--coverage }-Wl,-z,relro -Wl,-z,now" \
        --add-dynamic-module=source/front >configure.log 2>&1 || {
        tail -20 configure.log >&2
        exit 1
    }
fi
make --no-print-directory -f objs/Makefile "objs/$module" >make.log 2>&1 || {
    cat make.log >&2
    exit 1
}
if ! cmp -s "objs/$module" "$build/$module"; then
    cp "objs/$module" "$build/$module.new"
    mv "$build/$module.new" "$build/$module"
fi
