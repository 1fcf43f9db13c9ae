# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# package: a Debian package of what is compiled here. packaging/ says what is in it.

PACKAGE_TOOLS=(dpkg-buildpackage dh)

project_version() {
    sed -n "s/^[[:space:]]*version: '\([0-9.]*\)',.*/\1/p" "$ROOT/meson.build" | head -1
}

# The time of the last commit, so that the same sources make the same package.
source_date() {
    git -C "$ROOT" -c safe.directory='*' log -1 --format=%ct 2>/dev/null ||
        stat -c %Y "$ROOT/CHANGELOG.md"
}

write_debian_changelog() {
    local version=$1 file=$2
    printf 'hongbao (%s) bookworm; urgency=medium\n\n  * See CHANGELOG.md.\n\n' "$version" >"$file"
    printf ' -- Hongbao maintainers <hongbao@localhost>  %s\n' \
        "$(LC_ALL=C date -R -u -d "@$SOURCE_DATE_EPOCH")" >>"$file"
}

make_package() (
    version=$1 output=$2
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    SOURCE_DATE_EPOCH=$(source_date)
    export SOURCE_DATE_EPOCH
    mkdir "$work/hongbao"
    cp -r "$ROOT/packaging/debian" "$work/hongbao/debian"
    write_debian_changelog "$version" "$work/hongbao/debian/changelog"
    quietly "packaging/stage" "$ROOT/packaging/stage" "$BUILD" "$work/hongbao/stage"
    cd "$work/hongbao" || fail "$work/hongbao is gone"
    quietly dpkg-buildpackage dpkg-buildpackage --build=binary --unsigned-changes \
        --unsigned-buildinfo --no-check-builddeps
    install -d "$output"
    cp "$work"/*.deb "$output"
)

command_package() {
    local version output=$BUILD/package tool
    if help_wanted "$@"; then
        say "usage: ./hongbao package [--version VERSION] [--output FOLDER]"
        say "Builds hongbao_VERSION_amd64.deb (and one with debug symbols) into FOLDER, by default"
        say "$BUILD/package. Needs the packages that ./hongbao setup --package installs."
        return
    fi
    version=$(project_version)
    while [ $# -gt 0 ]; do
        [ $# -ge 2 ] || usage_error "$1 needs a value; ./hongbao package --help"
        case $1 in
        --version) version=$2 ;;
        --output) output=$2 ;;
        *) usage_error "package does not know '$1'" ;;
        esac
        shift 2
    done
    [[ $version =~ ^[0-9][0-9A-Za-z.+~]*$ ]] || usage_error "'$version' is no version of a package"
    for tool in "${PACKAGE_TOOLS[@]}"; do
        command -v "$tool" >/dev/null ||
            fail "$tool is missing; as root: ./hongbao setup --package"
    done
    output=$(realpath -m "$output")
    build
    note "packaging version $version"
    make_package "$version" "$output"
    say "package: $output/hongbao_${version}_amd64.deb"
}
