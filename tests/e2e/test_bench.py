# SPDX-License-Identifier: Apache-2.0
"""Each benchmark of a whole node runs in small: it prepares, loads, judges and proves the books. Its
figures are not looked at."""
import json
import os
import subprocess

from lib import ROOT, expect, test

SECONDS_MAX = 300


def smoke(name, *words):
    """@return the result of the benchmark in small"""
    environment = dict(os.environ, HONGBAO_ROOT=ROOT)
    environment.setdefault("HONGBAO_BUILD", os.path.join(ROOT, "build"))
    result = subprocess.run([os.path.join(ROOT, "perf", "bench"), name, "--smoke", "--json", *words],
                            capture_output=True, text=True, timeout=SECONDS_MAX, env=environment)
    lines = result.stdout.strip().splitlines()
    expect(lines and lines[-1].startswith("{"), "bench", name, "told no result:", result.stderr)
    found = json.loads(lines[-1])
    expect(result.returncode == 0 and found["ok"] is True and found["check"]["ok"] is True,
           "bench", name, "is not ok:", result.stdout, result.stderr)
    return found


@test
def benchmark_http_runs_in_small():
    loads = smoke("http", "--no-peer")["metrics"]["loads"]
    for name in ("grab 1", "grab 16", "read 16", "tokens HS256 cold", "tokens EdDSA warm"):
        expect(loads[name]["rate_per_s"] > 0, name, "is missing")


@test
def benchmark_overload_tells_what_is_done_and_what_is_refused():
    metrics = smoke("overload")["metrics"]
    for factor in ("x2", "x5", "x10"):
        expect(metrics[factor]["done"] > 0, "nothing was done at", factor)
        expect(metrics[factor]["done"] + metrics[factor]["refused"] + metrics[factor]["dropped"] ==
               metrics[factor]["offered"], "answers are missing at", factor, metrics[factor])


@test
def benchmark_overload_over_http_accounts_for_every_request_it_offers():
    metrics = smoke("overload-http")["metrics"]
    for factor in ("x2", "x5", "x10"):
        row = metrics[factor]
        expect(row["done"] > 0, "nothing was done at", factor)
        expect(row["done"] + row["refused"] + row["given_up"] == row["offered"],
               "answers are missing at", factor, row)


@test
def benchmark_machine_tells_what_memory_cpus_and_disk_give():
    metrics = smoke("machine")["metrics"]
    for name in ("line_ns", "line_of_8_ns", "first_access_us", "sync_us_p50", "sync_beside_us_p50"):
        expect(metrics[name] > 0, name, "is missing:", metrics)
    expect(0 <= metrics["lost_percent"] <= 100, metrics)


@test
def benchmark_drain_writes_the_rows_of_its_bare_client():
    found = smoke("drain")
    for servers in ("bare-client-1", "bare-client-2"):
        expect(found["ratios"][servers] > 0, servers, "is missing")


@test
def benchmark_recovery_replays_every_grab_and_compares_marks():
    found = smoke("recovery", "--no-peer")["metrics"]
    expect(found["records"] >= found["grabs"] > 0 and found["marks"] > 0, found)


@test
def benchmark_burst_watches_mysql_catch_up():
    found = smoke("burst", "--no-peer")
    committed, applied = found["series"]["rows"][-1][1:3]
    expect(committed - applied < found["metrics"]["grabs"], "MySQL did not catch up")


@test
def benchmark_idle_counts_the_cpu_of_every_process():
    found = smoke("idle", "--no-peer")["metrics"]["cpu_percent"]
    for process in ("nginx", "dataplane", "persist", "mysql", "control"):
        expect(process in found["node, 0/s"], process, "is missing")


@test
def benchmark_frames_hears_every_winner_through_a_memif():
    found = smoke("frames", "--no-peer")["metrics"]
    expect(found["already"]["already 22"]["rate_per_s"] > 0, found)
