# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Debian packages and system users. Services of the host are never started,
# stopped or changed: while packages are installed a policy forbids it.

POLICY=/usr/sbin/policy-rc.d
POLICY_SAVED=/usr/sbin/policy-rc.d.before-hongbao
POLICY_MARK="temporary policy of hongbao setup"

# packages_wanted [--bench] [--fuzz] [--package]: what is for one command only is left out without
# its option.
packages_wanted() {
    local bench='# bench only:' fuzz='# fuzz only:' package='# package only:' option
    for option in "$@"; do
        case $option in
        --bench) bench='^$' ;;
        --fuzz) fuzz='^$' ;;
        --package) package='^$' ;;
        esac
    done
    sed -e "/$bench/d" -e "/$fuzz/d" -e "/$package/d" -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' \
        "$ROOT/tools/packages.txt"
}

package_installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null | cut -c1-9)" = installed ]
}

packages_missing() {
    local package
    while read -r package; do
        package_installed "$package" || printf '%s\n' "$package"
    done < <(packages_wanted "$@")
}

policy_forbid() {
    if [ -e "$POLICY" ] && ! grep -q "$POLICY_MARK" "$POLICY"; then
        mv "$POLICY" "$POLICY_SAVED"
    fi
    printf '#!/bin/sh\n# %s\nexit 101\n' "$POLICY_MARK" >"$POLICY"
    chmod 755 "$POLICY"
}

# Put back what was there; also cleans up after a setup that was killed.
policy_restore() {
    if [ -e "$POLICY" ] && grep -q "$POLICY_MARK" "$POLICY"; then
        rm -f "$POLICY"
    fi
    if [ -e "$POLICY_SAVED" ]; then
        mv "$POLICY_SAVED" "$POLICY"
    fi
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 APT_LISTCHANGES_FRONTEND=none \
        apt-get -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -qq -y \
        -o Dpkg::Options::=--force-confold --no-install-recommends install "$@"
}

apt_update() {
    note "refreshing the package lists"
    apt-get -o DPkg::Lock::Timeout=300 -qq update ||
        fail "apt-get update failed; is there a network, and are the sources right?"
}

# What starts with the machine: links of both init systems.
services_enabled() {
    find /etc/rc[2-5].d -name 'S*' 2>/dev/null | sort
    find /etc/systemd/system -path '*.wants/*' 2>/dev/null | sort
}

# Packages enable their services for the next start of the machine; those that were not
# enabled before are not wanted. Reads the list from before on standard input.
keep_new_services_off() {
    local link name
    while read -r link; do
        case $link in
        /etc/systemd/*) rm -f "$link" ;;
        *)
            name=${link##*/S}
            update-rc.d "${name:2}" disable >/dev/null 2>&1 || true
            ;;
        esac
    done < <(comm -13 - <(services_enabled))
}

install_packages() (
    log=$(mktemp)
    enabled=$(services_enabled)
    trap 'policy_restore; rm -f "$log"' EXIT
    trap 'exit 130' INT TERM HUP
    policy_forbid
    apt-get -s --no-install-recommends install "$@" >/dev/null 2>&1 || apt_update
    note "installing $# Debian packages: $*"
    if ! apt_install "$@" >"$log" 2>&1; then
        apt_update
        if ! apt_install "$@" >"$log" 2>&1; then
            tail -20 "$log" >&2
            fail "the packages could not be installed; the lines above say why"
        fi
    fi
    keep_new_services_off <<<"$enabled"
)

ensure_group() {
    grep -q "^$1:" /etc/group || groupadd --system "$1"
}

ensure_user() {
    if ! getent passwd "$1" >/dev/null; then
        note "creating system user $1"
        useradd --system --user-group --groups "$GROUP" --no-create-home \
            --home-dir /nonexistent --shell /usr/sbin/nologin "$1"
    fi
    id -nG "$1" | tr ' ' '\n' | grep -qx "$GROUP" || usermod -a -G "$GROUP" "$1"
}

ensure_users() {
    local user
    ensure_group "$GROUP"
    for user in "$@"; do
        ensure_user "$user"
    done
}

# The state is looked at here and there: with pages of 4 KiB most looks miss the processor's table of
# pages. The kernel gives huge pages to a program that asks once this says so; until the next boot.
allow_huge_pages() {
    local file=/sys/kernel/mm/transparent_hugepage/shmem_enabled
    grep -qs '\[never\]' "$file" || return 0
    if echo advise 2>/dev/null >"$file"; then
        note "huge pages for shared memory: never -> advise in $file, until the next boot"
    fi
}

setup() {
    local missing
    need_root setup
    mkdir -p "$STATE_ROOT"
    take_lock "$STATE_ROOT/.setup-lock" setup
    policy_restore
    mapfile -t missing < <(packages_missing "$@")
    if [ "${#missing[@]}" -gt 0 ]; then
        install_packages "${missing[@]}" 9>&-
    fi
    ensure_users hongbao-dataplane hongbao-persist hongbao-control hongbao-front hongbao-mysql
    [ "${HUGE_PAGES:-yes}" = no ] || allow_huge_pages
    exec 9>&-
}

command_setup() {
    local options=()
    if help_wanted "$@"; then
        say "usage: ./hongbao setup [--bench] [--fuzz] [--package] [--no-huge-pages]"
        say "Installs the missing packages of tools/packages.txt and creates the system users."
        say "--bench: also the packages that only benchmarks need, as peers to compare with."
        say "--fuzz: also the compiler that ./hongbao fuzz needs."
        say "--package: also those that only ./hongbao package and its test need."
        say "Where the kernel gives no huge pages for shared memory it is told to give them on request,"
        say "until the next boot; --no-huge-pages leaves that as it is."
        say "Starts, stops and changes no service of the host."
        return
    fi
    while [ $# -gt 0 ]; do
        case $1 in
        --bench | --fuzz | --package) options+=("$1") ;;
        --no-huge-pages) HUGE_PAGES=no ;;
        *) usage_error "setup takes no arguments but --bench, --fuzz, --package and --no-huge-pages" ;;
        esac
        shift
    done
    setup "${options[@]}"
    say "setup: complete"
}
