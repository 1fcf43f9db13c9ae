# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Compile with meson and ninja, build the nginx module, install into a node.

# Run quietly; show what was printed only when it fails.
quietly() {
    local what=$1 log
    shift
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        tail -40 "$log" >&2
        rm -f "$log"
        fail "$what failed; the lines above say why"
    fi
    rm -f "$log"
}

configure_build() {
    if [ -f "$BUILD/.source" ] && [ "$(cat "$BUILD/.source")" != "$ROOT" ]; then
        rm -rf "$BUILD"
    fi
    if [ ! -f "$BUILD/build.ninja" ]; then
        note "configuring the build in $BUILD"
        quietly "meson setup" meson setup "$BUILD" "$ROOT"
        printf %s "$ROOT" >"$BUILD/.source"
    fi
}

build() {
    if [ -f "$BUILD/.source" ] && [ "$(cat "$BUILD/.source")" != "$ROOT" ]; then
        rm -rf "$BUILD"
    fi
    if [ ! -f "$BUILD/build.ninja" ]; then
        note "configuring the build in $BUILD"
        quietly "meson setup" meson setup "$BUILD" "$ROOT"
        printf %s "$ROOT" >"$BUILD/.source"
    fi
}

build() {
    local started
    started=$(now_ms)
    command -v ninja >/dev/null || fail "ninja is missing; run ./hongbao setup as root first"
    mkdir -p "$BUILD"
    exec 7>"$BUILD/.lock"
    flock 7 # two ninjas in one folder would trip over each other
    configure_build
    note "compiling"
    quietly "the compilation" ninja -C "$BUILD"
    note "compiling the nginx module"
    mkdir -p "$BUILD/front"
    quietly "the nginx module" bash "$ROOT/front/build.sh" "$BUILD/front"
    exec 7>&-
    note "compiled in $((($(now_ms) - started) / 1000)) s"
}

built() {
    local program
    for program in "${PROGRAMS[@]}" front/ngx_hb_module.so; do
        [ -f "$BUILD/$program" ] || return 1
    done
}

# A running program's file is replaced by a new one, never written into.
install_file() {
    cmp -s "$1" "$2" && return
    install -m "$3" "$1" "$2.new"
    mv "$2.new" "$2"
}

install_programs() {
    local node=$1 program
    install -d -m 755 "$node" "$node/bin"
    for program in "${PROGRAMS[@]}"; do
        [ -f "$BUILD/$program" ] || fail "$BUILD/$program is missing; run ./hongbao build"
        install_file "$BUILD/$program" "$node/bin/${program##*/}" 755
    done
    install_file "$BUILD/front/ngx_hb_module.so" "$node/bin/ngx_hb_module.so" 644
}

link_run() {
    if [ -e "$ROOT/run" ] && [ ! -L "$ROOT/run" ]; then
        fail "$ROOT/run is in the way; it should be a symbolic link to $DEFAULT_NODE"
    fi
    [ "$(readlink "$ROOT/run" || true)" = "$DEFAULT_NODE" ] || ln -sfn "$DEFAULT_NODE" "$ROOT/run"
}

command_build() {
    if help_wanted "$@"; then
        say "usage: ./hongbao build"
        say "Compiles into $BUILD and installs into $DEFAULT_NODE/bin (./run/bin)."
        return
    fi
    [ $# -eq 0 ] || usage_error "build takes no arguments"
    build
    if [ "$EUID" -eq 0 ]; then
        install_programs "$DEFAULT_NODE"
        link_run
        say "build: installed into $DEFAULT_NODE/bin"
    else
        say "build: complete; as root it would be installed into $DEFAULT_NODE/bin too"
    fi
}

# Remove what the launcher made: the build, and node directories in which nothing runs.
command_clean() {
    local node
    if help_wanted "$@"; then
        say "usage: ./hongbao clean [--data]"
        say "Removes the build and left-over demo and test nodes."
        say "--data: also the node of this checkout with its journal: all money in it is gone."
        return
    fi
    rm -rf "$BUILD"
    [ "$EUID" -eq 0 ] || return 0
    for node in "$DEFAULT_NODE-demo" "$DEFAULT_NODE-test"; do
        remove_node "$node"
    done
    [ "${1:-}" = --data ] || return 0
    remove_node "$DEFAULT_NODE"
    rm -f "$ROOT/run"
}
