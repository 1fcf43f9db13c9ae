# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The simulator and the comparison with the reference model: programs of the build; as root it is
# brought up to date first.

# run_built PROGRAM ARGUMENT...: becomes a program of the build.
run_built() {
    local program=$BUILD/$1
    shift
    if [ "$(id -u)" -eq 0 ]; then
        { setup && build; } >&2
    fi
    [ -x "$program" ] || fail "nothing is built; run ./hongbao build as root"
    exec "$program" "$@"
}

command_sim() {
    if help_wanted "$@"; then
        cat <<'END'
usage: ./hongbao sim [--seeds N] [--from S] [--jobs N] [--resume FILE] [--json]
       ./hongbao sim --seed S --log
       ./hongbao sim --crash-points [--scripts N] [--every K]
       ./hongbao sim --corruption [--scripts N] [--every K]

Simulates clients, dataplane, persist and a disk that fails; exit 1 when something acknowledged is
lost, with the seed or script that shows it.

  --seeds N       drawn workloads and faults (1000), from --from S on (1)
  --seed S        one seed; --log prints its steps
  --crash-points  stop scripts at each point where the disk changes, in up to 64 ways of losing
                  what was not synced; fail each call of the disk in each way
  --corruption    damage each sector of journal, snapshots and superblock in four ways
  --scripts N     of those two (12; 4); --every K: only each K-th point, call or sector
  --jobs N        processes at once
  --resume FILE   remember there how far it came, and go on from there
  --keep-going    after a violation
  --json          the result as one JSON object
END
        return
    fi
    run_built tests/sim/hongbao-sim "$@"
}

command_difference() {
    if help_wanted "$@"; then
        cat <<'END'
usage: ./hongbao difference [--operations N] [--from S] [--jobs N] [--resume FILE] [--json]
       ./hongbao difference --seed S [--until K] [--log]

Asks the engine and a plain reference model (tests/reference) the same random commands and compares
each reply, and now and then the whole state; exit 1 at the first difference.

  --operations N  in seeds of 20000 (1m); 1m is a million, 1g a thousand millions
  --from S        first seed (1)
  --seed S        one seed; --until K: its first K operations; --log prints them
  --jobs N        processes at once (1)
  --resume FILE   remember there how far it came, and go on from there
  --keep-going    after a difference
  --json          the result as one JSON object
END
        return
    fi
    run_built tests/reference/hongbao-difference "$@"
}
