# SPDX-License-Identifier: Apache-2.0
"""instructions: what a grab of engine-hot is made of, counted by valgrind's callgrind. The figures
are the same whatever else the machine does, so they show a change that a clock does not."""
import json
import os
import re
import shutil
import subprocess
import tempfile

from generator import program
from lib import expect

RUNS = 2
GRABS = 20000
GRABS_SMOKE = 2000
WORLD = ("--accounts", "200000", "--frames", "100000", "--windows", "65536")
COLLECTED = "drive_burst"
# valgrind has no SHA instructions and would count OpenSSL's loop; the other is all of the program
NOT_COUNTED = ("hb_draws_", "message", "(below main)")
# By the beginnings of functions' names, the first that fits; what fits none is "other".
PARTS = (
    ("MAC of the token", ("hb_token_", "hashes", "hbi_token_check")),
    ("window of its sequences", ("hbi_window_", "hb_window_", "window_")),
    ("frame checked", ("hb_frame_check", "target_fits", "body_fits", "workflow_body_fits")),
    ("deciding, reply and record", ("hb_decide", "hbi_decide_", "hb_stamp_", "grab_")),
    ("checksum of the record", ("hb_record_", "record_")),
    ("shares drawn, without SHA-256", ("hb_split_", "draw", "expand_shares")),
    ("applying", ("hb_apply", "apply_", "hbi_claim_", "hbi_use_stamp")),
    ("accounts", ("hbi_account_", "hb_account_")),
    ("prefetches", ("hb_prefetch_", "prefetch")),
    ("journal ring", ("hb_ring_",)),
    ("loop, copy and partitions", (COLLECTED,)),
)


def name_of(word, names):
    """Callgrind writes a name once, with its number, and the number alone after that."""
    number, name = re.match(r"\((\d+)\)(?: (.*))?", word).groups()
    if name:
        names[number] = name
    return names[number]


def parse(lines, object_end):
    """Instructions by function of one object, with those of other objects that it called.
    Source of the format: the manual of callgrind, "Callgrind Format Specification"."""
    functions, objects, counts = {}, {}, {}
    here = called = function = None
    of_call = False
    for line in lines:
        key, _, word = line.rstrip("\n").partition("=")
        if key == "ob":
            here = name_of(word, objects)
        elif key == "fn":
            function = name_of(word, functions)
        elif key == "cob":
            called = name_of(word, objects)
        elif key == "cfn":
            name_of(word, functions)
        elif key == "calls":
            of_call = True
        elif re.match(r"[+*\d-]\S* \d+$", line):
            outside = of_call and called is not None and not called.endswith(object_end)
            if here is not None and here.endswith(object_end) and (outside or not of_call):
                counts[function] = counts.get(function, 0) + int(line.split()[1])
            if of_call:
                called, of_call = None, False
    return counts


def part_of(function):
    return next((part for part, begins in PARTS if function.startswith(begins)), "other")


def by_part(counts, grabs):
    parts = {part: 0 for part, _ in PARTS}
    for function, count in counts.items():
        if not function.startswith(NOT_COUNTED):
            part = part_of(function)
            parts[part] = parts.get(part, 0) + count
    return {part: {"instructions": round(count / grabs, 1)} for part, count in parts.items()}


def count(path, grabs, seed):
    """Let callgrind write its counts of some grabs to `path`.
    @return (instructions by function, what the engine's own check said)"""
    words = ["valgrind", "--tool=callgrind", "--fair-sched=yes", "--collect-jumps=no",
             "--toggle-collect=%s*" % COLLECTED, "--callgrind-out-file=" + path, program(),
             "engine", "--seed", str(seed), "--runs", str(RUNS + 1), *WORLD]
    result = subprocess.run(words, input="run hot 32 %d\n" % grabs * RUNS + "check\n",
                            capture_output=True, text=True)
    expect(result.returncode == 0, "callgrind:", result.stderr)
    with open(path) as f:
        return (parse(f, os.path.basename(program())),
                json.loads(result.stdout.strip().splitlines()[-1]))


def instructions(options):
    """instructions of a grab by part, counted by callgrind: the same on a busy machine"""
    expect(shutil.which("valgrind"), "valgrind is not installed; ./hongbao setup --bench installs it")
    grabs = GRABS_SMOKE if options.smoke else GRABS
    with tempfile.TemporaryDirectory(prefix="hongbao-bench-") as scratch:
        counts, check = count(os.path.join(scratch, "out"), grabs, options.seed)
    parts = by_part(counts, RUNS * grabs)
    total = round(sum(part["instructions"] for part in parts.values()))
    expect(total > 0, "callgrind has counted nothing: is there a function", COLLECTED)
    print("a grab of engine-hot: %d instructions, without SHA-256 of the draws; with AVX2, as "
          "valgrind has no AVX-512" % total)
    for part, value in sorted(parts.items(), key=lambda item: -item[1]["instructions"]):
        print("%8.1f  %s" % (value["instructions"], part))
    return {"bench": "instructions", "ok": check["ok"], "peers": {}, "ratios": {}, "check": check,
            "metrics": {"instructions_per_grab": total, "parts": parts}}
