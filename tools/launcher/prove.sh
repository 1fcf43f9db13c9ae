# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Commands that try to break the product: models, races, planted mistakes, fuzzing; what the tests
# reach; and all of it in one.

command_prove() {
    if ! help_wanted "$@" && [ "${1:-}" != --list ]; then
        need_root prove
        { setup && build; } >&2
    fi
    export HONGBAO_BUILD=$BUILD
    exec "$ROOT/tests/prove/run" "$@"
}

command_mutants() {
    setup >&2
    exec "$ROOT/tests/mutants/run" "$@"
}

command_models() {
    help_wanted "$@" || setup >&2
    exec "$ROOT/tests/models/run" "$@"
}

command_races() {
    help_wanted "$@" || setup >&2
    exec "$ROOT/tests/races/run" "$@"
}

command_coverage() {
    setup >&2
    exec "$ROOT/tests/coverage/run" "$@"
}

FUZZ_TARGETS=(business config frame framed gateway journal jwt record snapshot text wire)

fuzz_usage() {
    cat <<'END'
usage: ./hongbao fuzz [TARGET...] [--runs N | --until N] [--json]

Runs libFuzzer (clang, AddressSanitizer, UndefinedBehaviorSanitizer) over what reads bytes from
outside; without a target over all of them in turn. What was found to reach new code is kept in
build-fuzz/corpus/TARGET, so a second call goes on from there, and the executions of all calls are
added up. An input that ends the program is kept in build-fuzz/found/TARGET-*.

  --runs N   executions of each target in this call (100000)
  --until N  as many as are missing to N in all calls; begin with --coverage, and delete
             build-fuzz/executions to count anew
  --json     the last line is one JSON object: executions and findings by target
  --list     name the targets and end
  --coverage what each target reaches of its parsers (its corpus and 3,000 mutations of it), instead
END
}

fuzz_build() {
    local build=$1
    if [ ! -f "$build/build.ninja" ]; then
        note "configuring the fuzzers in $build" >&2
        CC=clang quietly "meson setup" meson setup "$build" "$ROOT" -Dfuzz=true -Dwerror=false \
            -Db_sanitize=address,undefined -Db_lundef=false
    fi
    shift
    note "compiling the fuzzers" >&2
    quietly "the compilation" ninja -C "$build" "${@/#/tests/fuzz/fuzz_}"
}

# fuzz_one BUILD TARGET RUNS UNTIL: runs it and prints "executions findings" of all calls.
fuzz_one() {
    local build=$1 target=$2 runs=$3 until=$4 corpus=$1/corpus/$2 found=$1/found log done=0 leaks=1
    mkdir -p "$corpus" "$found" "$build/executions"
    log=$(mktemp)
    [ ! -s "$build/executions/$target" ] || done=$(cat "$build/executions/$target")
    [ -z "$until" ] || runs=$((until > done ? until - done : 0))
    if [ "$runs" -eq 0 ]; then
        echo "$done $(find "$found" -name "$target-*" | wc -l)"
        return
    fi
    # libconfig itself leaks a string when a file ends inside quotes; the programs end then
    [ "$target" != config ] || leaks=0
    # no stack is kept for each allocation, and no search for rare features: several times as fast
    ASAN_OPTIONS=detect_leaks=$leaks:malloc_context_size=1:quarantine_size_mb=16 UBSAN_OPTIONS=halt_on_error=1 "$build/tests/fuzz/fuzz_$target" -runs="$runs" -max_len=4096 \
        -entropic=0 -timeout=25 -rss_limit_mb=4096 -print_final_stats=1 -artifact_prefix="$found/$target-" \
        "$corpus" "$ROOT/tests/fuzz/corpus/$target" >"$log" 2>&1 || tail -40 "$log" >&2
    done=$((done + $(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1 | grep . ||
        echo 0)))
    echo "$done" >"$build/executions/$target"
    rm -f "$log"
    echo "$done $(find "$found" -name "$target-*" | wc -l)"
}

command_fuzz() {
    local runs=100000 until="" json=0 targets=() build=$ROOT/build-fuzz target counts all="" bad=0
    while [ $# -gt 0 ]; do
        case $1 in
        --help | -h)
            fuzz_usage
            return
            ;;
        --list)
            printf '%s\n' "${FUZZ_TARGETS[@]}"
            return
            ;;
        --json) json=1 ;;
        --coverage)
            setup >&2
            shift
            exec "$ROOT/tests/coverage/run" --fuzz "$@"
            ;;
        --runs)
            [[ "${2:-}" =~ ^[0-9]+$ ]] || fail "--runs wants a number"
            runs=$2
            shift
            ;;
        --until)
            [[ "${2:-}" =~ ^[0-9]+$ ]] || fail "--until wants a number"
            until=$2
            shift
            ;;
        *)
            [[ " ${FUZZ_TARGETS[*]} " == *" $1 "* ]] ||
                fail "there is no target '$1'; ./hongbao fuzz --list names them"
            targets+=("$1")
            ;;
        esac
        shift
    done
    [ ${#targets[@]} -gt 0 ] || targets=("${FUZZ_TARGETS[@]}")
    setup --fuzz >&2
    fuzz_build "$build" "${targets[@]}"
    for target in "${targets[@]}"; do
        counts=$(fuzz_one "$build" "$target" "$runs" "$until")
        note "$target: ${counts% *} executions in all, ${counts#* } findings" >&2
        [ "${counts#* }" -eq 0 ] || bad=1
        all+="${all:+,}\"$target\":{\"executions\":${counts% *},\"findings\":${counts#* }}"
    done
    [ "$json" -eq 0 ] || echo "{\"ok\":$([ $bad -eq 0 ] && echo true || echo false),\"targets\":{$all}}"
    return "$bad"
}
